"""The simulated line as a Sparkplug B edge node: one device per work centre, and faults on demand."""
