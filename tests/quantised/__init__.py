"""Quantised models: what users bring, as one engine with weights in few bits."""
