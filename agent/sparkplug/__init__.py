"""Sparkplug B v3.0: its payloads and the sessions of its edge nodes, without a network."""
