"""The HTTP face of the agent: the API for Perspective and scripts, and who may use it."""
