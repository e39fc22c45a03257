"""Gatepost: the edge agent that stands beside an Ignition Gateway and posts to the ERP exactly once."""

import os

__version__ = "0.1.0"

# Else onnxruntime keeps a device id in the home folder and sends usage data to its makers; read at its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
