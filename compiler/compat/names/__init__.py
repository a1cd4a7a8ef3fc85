"""Modules that are found as `trt_passes.NAME`, in a folder of their own because a library has the name too."""
