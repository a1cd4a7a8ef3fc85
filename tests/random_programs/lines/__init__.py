"""What random programs are made of, by family: templates (see `Builder`), and functions that add lines."""
