"""Mutated files for everything that reads files: none may run code, and none may end in anything but a UserError.

`python -m tests.fuzz_files --count 10000` makes them from a seed, `--only NUMBER` makes one again.
"""
