"""The configuration: YAML → frozen pydantic models, all errors at once as ``file:line: path: message (value)``."""

from __future__ import annotations

from agent.schema import Settings, did_you_mean, parse, validate
from agent.secrets import Secret, SecretPlaces
from agent.yamltree import Node, read_yaml, scan_yaml

__all__ = ["Node", "Secret", "SecretPlaces", "Settings", "did_you_mean", "parse", "read_yaml", "scan_yaml", "validate"]
