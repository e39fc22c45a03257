"""docs/sources/simulator.md says what the simulated line shows and what can go wrong with it."""

import re
from pathlib import Path

from simulators.line.tags import tags
from simulators.opcua import faults as opcua
from simulators.opcua.server import POLICIES
from simulators.plan import SOURCES
from simulators.scenario import load
from simulators.sparkplug.faults import FAULTS

PAGE = (Path(__file__).parents[2] / "docs/sources/simulator.md").read_text(encoding="utf-8")


def test_every_tag_fault_and_source_is_on_the_page():
    """Nothing that the line shows, or that a test can switch on, is left unexplained."""
    scenario = load()
    shown = {tag.name for center in scenario.work_centers for tag in tags(scenario, center)}
    names = {re.sub("^Component/[^/]+/", "Component/<material>/", name) for name in shown}
    for word in (*FAULTS, *opcua.FAULTS, *POLICIES, *names, *(f"SOURCE={source}" for source in SOURCES)):
        assert f"`{word}`" in PAGE, word
