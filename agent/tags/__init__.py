"""Tags of a controller become events: triggers, counters, scales and handshakes, declared in the configuration."""
