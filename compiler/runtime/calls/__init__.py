"""The arguments of a call of a compiled model: in which order, checked, and of which strides."""
