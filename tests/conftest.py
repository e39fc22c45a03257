"""Settings of the property tests: no deadline, because no test may depend on the machine's speed."""

from hypothesis import settings

settings.register_profile("gatepost", deadline=None)
settings.load_profile("gatepost")
