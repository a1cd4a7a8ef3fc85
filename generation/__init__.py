"""Generation with models of transformers: compiled steps, and caches of keys and values."""
