"""When a queue of an OPC UA server that overflowed is worth a new session, and which tags wait for it."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from agent.sources.opcua_gap import Gaps
from agent.sources.opcua_values import Limits
from tests.opcua_bench import config
from tests.tag_bench import change

LOT = {"name": "lot", "topic": "p/lot", "when": {"rising": "done"}, "fields": {"lot": "lot"}}
STATE = {"name": "state", "topic": "p/state", "when": {"change": "state"}}
NAMES = ("done", "lot", "state", "ack", "gross", "stable")
WEIGHED = {"weight": {"gross": "gross", "stable": "stable", "least": "1"}}


def gaps(*events: dict[str, Any], history: bool = True) -> Gaps:
    tags = {name: f"ns=plc;s={name}" for name in NAMES}
    one = Gaps(config(1, tags=tags, events=list(events), history=history), Limits(timedelta(minutes=1), 100))
    one.took([change(name, 1, 0) for name in NAMES])
    return one


@pytest.mark.parametrize(("every_s", "times"), [(1, 6), (90, 6), (600, 6)], ids=["always", "often", "seldom"])
def test_a_queue_that_is_too_short_for_good_seldom_ends_a_session(every_s, times):
    """The pause doubles to an hour while overflow recurs; what comes rarely is asked for each time."""
    one = gaps(STATE)
    asked = [now for now in range(5, 3600, every_s) if one.held(["state"], float(now))]
    assert len(asked) == times
    pauses = [later - now for now, later in pairwise(asked)]
    assert all(pause == 600 for pause in pauses) if every_s == 600 else pauses == sorted(set(pauses))


def test_the_pause_is_an_hour_at_most_and_a_minute_again_after_calm():
    """A queue that overflows for a day ends a session every hour; a day of calm later it begins anew."""
    one = gaps(STATE)
    day = [now for now in range(0, 86400, 10) if one.held(["state"], float(now))]
    assert day[-1] - day[-2] == 3600
    later = [now for now in range(200000, 200070, 10) if one.held(["state"], float(now))]
    assert later == [200000, 200060]


def test_only_what_shares_tags_with_what_was_dropped_waits():
    """The tags of an event wait together, its request too; the other events go on."""
    assert gaps(LOT, STATE).held(["lot"], 0.0) == {"done", "lot"}
    asked = {**LOT, "name": "asked", "when": {"rising": "state"}, "handshake": {"ack": "ack"}}
    assert gaps(asked, {**LOT, "fields": {}}).held(["lot"], 0.0) == {"state", "lot"}


def test_no_session_ends_for_what_no_history_can_tell():
    """Not while history is off, not for a tag of no event, not for a scale that is read at a trigger."""
    assert gaps(STATE, history=False).held(["state"], 0.0) == set()
    assert gaps(STATE).held(["lot"], 0.0) == set()
    assert gaps({**LOT, "weighed": WEIGHED}).held(["gross"], 0.0) == set()
