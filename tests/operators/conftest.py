"""Importing PyTorch's samples loads a hypothesis profile of PyTorch's own, for the whole process; this undoes it."""

from __future__ import annotations

import hypothesis

from tests.operators.catalog import entries

entries()
hypothesis.settings.load_profile("patient")
