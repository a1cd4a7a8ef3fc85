"""What `docs/generate.py` is made of: pages from declarations, excerpts and pictures from real runs."""
