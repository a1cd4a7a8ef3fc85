"""Random programs: models as people write them with a strange line here and there, compiled and compared with PyTorch.

A program is Python text that follows from its number: `write` makes it line by line and runs each line at once, so
that it works in PyTorch at the ends of its ranges. `judge` compiles one and compares; `minimise` makes a failing one
short. `python -m tests.random_programs` does this for as many as asked for, see there.
"""
