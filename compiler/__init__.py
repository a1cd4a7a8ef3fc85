"""What flows through the compiler (programs, segments, ledgers) and who drives it (pipelines, the pass manager)."""
