"""The command `trt-passes`."""
