"""Instruments watch the pass manager: dumping, timing, verification, numeric checks, progress."""
