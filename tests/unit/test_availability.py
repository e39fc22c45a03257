"""What the log says of a target that opens."""

from __future__ import annotations

import logging

import pytest

from agent.availability import Availability


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        ("", "target s4 is available"),
        ("http://sap: not reachable", "target s4 has not answered yet; the first posting asks it again"),
    ],
)
def test_a_target_is_called_available_only_when_it_answered(caplog: pytest.LogCaptureFixture, lacking: str, told: str):
    """One that opened with what it kept of itself may be tried, and is not praised."""
    caplog.set_level(logging.INFO)
    target = Availability("s4")
    target.opened(lacking)
    assert [record.message for record in caplog.records] == [told]
    assert not target.resting
