"""docs/erp/simulator.md says what the simulated SAP can do."""

from pathlib import Path

from simulators.erp.control import settings
from simulators.erp.faults import FAULTS
from simulators.erp.model import SERVICES
from simulators.erp.state import new_erp

PAGE = (Path(__file__).parents[2] / "docs/erp/simulator.md").read_text(encoding="utf-8")


def test_every_fault_service_and_setting_is_on_the_page():
    """Nothing that a test can switch on is left unexplained."""
    functions = [name for service in SERVICES.values() for name in service.functions]
    for word in (*FAULTS, *SERVICES, *functions, *settings(new_erp())):
        assert f"`{word}`" in PAGE, word
