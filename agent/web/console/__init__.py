"""The console: pages that the agent serves itself, for commissioning and for the day Ignition is down."""
