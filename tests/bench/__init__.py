"""Measures the agent beside plain programs that do only the unavoidable; see docs/benchmarks.md."""
