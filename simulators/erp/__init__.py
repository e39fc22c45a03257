"""An S/4-like OData V2 server that keeps books of its own, with faults on demand."""
