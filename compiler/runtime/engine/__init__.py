"""Engines as they run: what is known of one, its contexts and streams, caches of engines and kernels."""
