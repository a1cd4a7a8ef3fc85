"""The passes of the pipeline, one file each, named as the pipeline names them."""
