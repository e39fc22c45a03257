"""Features: pure functions from what is known to a model's row, shared by training and serving."""
