"""What only one thread of a process may do at a time."""

from __future__ import annotations

import threading

CAPTURING = threading.RLock()
"""Held while a CUDA graph is captured, and while something waits for a whole GPU, which would break the capture.

A capture begins with that, and so do engines that are loaded. CUDA knows no narrower border: work of other threads on
streams of their own goes on.
"""
