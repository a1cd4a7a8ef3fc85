"""The documentation, and what generates its reference pages, excerpts and pictures: `python -m docs.generate`."""
