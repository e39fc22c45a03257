"""From which addresses OPC UA clients may come, by a clock that is given."""

from __future__ import annotations

import pytest

from agent.access.throttle import MOST_REFUSED, REMEMBERED, WINDOW_S, Throttle


class Time:
    """Seconds that pass when they are told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_too_many_refusals_shut_an_address_out_for_a_while(caplog: pytest.LogCaptureFixture):
    """Nobody comes in from where the last refusals fill the window; others do, and one line says so."""
    time = Time()
    throttle = Throttle("clients", time)
    for _ in range(MOST_REFUSED - 1):
        throttle.refused("10.0.0.7")
    assert not throttle.shuts_out("10.0.0.7")
    throttle.refused("10.0.0.7")
    throttle.refused("10.0.0.7")
    assert throttle.shuts_out("10.0.0.7")
    assert not throttle.shuts_out("10.0.0.8")
    assert [record.message for record in caplog.records] == [
        "clients at 10.0.0.7 were refused 30 times within 60 s; no other comes in from there for a while"
    ]
    time.now += WINDOW_S
    assert not throttle.shuts_out("10.0.0.7")
    assert throttle.total == MOST_REFUSED + 1


def test_who_tries_again_every_few_seconds_is_not_shut_out():
    """A client with a wrong password that comes back every three seconds never fills the window."""
    time = Time()
    throttle = Throttle("clients", time)
    for _ in range(5 * MOST_REFUSED):
        time.now += 3
        throttle.refused("10.0.0.7")
        assert not throttle.shuts_out("10.0.0.7")


def test_addresses_without_end_do_not_fill_the_memory():
    """Of many addresses those heard of last are remembered."""
    throttle = Throttle("clients", Time())
    for _ in range(MOST_REFUSED):
        for number in (0, 1):
            throttle.refused(f"10.0.0.{number}")
    for number in range(REMEMBERED - 1):
        throttle.refused(f"10.1.{number // 256}.{number % 256}")
    assert not throttle.shuts_out("10.0.0.0")
    assert throttle.shuts_out("10.0.0.1")
