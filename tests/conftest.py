"""Settings for every test, as no test may depend on the machine.

Hypothesis has no deadline and no limit of drawing; training has one thread: several wait for each other on a busy one.
Processes that test side by side take their ports from different ranges: one that is free stays so until it is used.
"""

import os

from hypothesis import HealthCheck, settings

from simulators import broker

RANGES = 6  # of ports; a seventh process shares the first one's

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when scikit-learn is imported

settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")

if (worker := os.environ.get("PYTEST_XDIST_WORKER")) is not None:
    low, high = broker.PORTS
    size = (high - low) // RANGES
    low += int(worker.removeprefix("gw")) % RANGES * size
    broker.PORTS = low, low + size
