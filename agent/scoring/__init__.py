"""Trained models: their files, their answers, and figures of how right they are. Nothing here knows the store."""
