"""The agent as an OPC UA server: what it knows about itself, and what people may decide there."""
