"""Ways in: what turns a user's model into a `Program`."""
