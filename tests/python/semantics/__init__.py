"""What models do besides computing, compared with eager through every door: see docs/semantics.md."""
