"""The configuration: what can be said in it, how it is read, and what must be right between its parts."""
