"""Settings for every test, as no test may depend on the machine.

Hypothesis has no deadline and no limit of drawing; training has one thread: several wait for each other on a busy one.
"""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when scikit-learn is imported

settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")
