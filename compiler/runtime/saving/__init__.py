"""Compiled programs as files: archives, TorchScript and plans, written whole or not at all."""
