"""Gatepost: the edge agent that stands beside an Ignition Gateway and posts to the ERP exactly once."""

__version__ = "0.1.0"
