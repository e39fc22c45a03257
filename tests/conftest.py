"""Settings of hypothesis for every test: no deadline and no limit of drawing, as no test may depend on the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile("gatepost", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatepost")
