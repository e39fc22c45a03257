"""Streaming detectors: pure functions from a state and a number to the next state; every state is JSON-able and small.

States are named tuples of numbers. Written as JSON they are lists, and ``State(*values)`` makes them again.
"""
