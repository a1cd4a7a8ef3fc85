"""Find what is wrong with a compiled model: the pass, the engine and the operator, and a script that shows it alone."""
