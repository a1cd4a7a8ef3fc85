"""A run as data: its report, coverage, the story of a node, dump folders, and how two runs differ."""
