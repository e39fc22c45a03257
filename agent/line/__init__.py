"""Orders sent to their line, by an MQTT topic or an OPC UA server, acknowledged by it or by what it listens to."""
