"""The agent as a Sparkplug edge node."""
