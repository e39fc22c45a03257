"""The simulated line as an OPC UA server: its controllers' tags in a namespace of their own, with faults on demand."""
