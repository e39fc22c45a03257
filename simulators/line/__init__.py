"""The simulated plant line: machines that work on orders and report over MQTT what they consumed and made."""
