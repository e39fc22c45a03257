"""Requests for births: when, how often, and of whom."""

from __future__ import annotations

from itertools import pairwise

from agent.sparkplug.rebirth import Rebirths
from tests.sparkplug_nodes import Plant, data


def test_requests_keep_their_distance():
    """At most one to a node in 30 s, whatever happens; unanswered ones ever more rarely; after three an alarm."""
    plant = Plant(reorder_s=0, rebirth_s=30)
    asked = []
    for second in range(300):
        if plant.hear(data(17)).rebirths:
            asked.append(second)
        plant.ticks += 1
    assert len(asked) == 4
    assert all(later - earlier >= 30 for earlier, later in pairwise(asked))
    plant.born()
    assert not plant.hear(data(7)).rebirths
    assert plant.node.state == "stale"


def test_unanswered_requests_are_an_alarm():
    """After three the node is named."""
    plant = Plant()
    noticed = [notice for _ in range(200) for notice in (plant.hear(data(17)), plant.later(2))[1].notices]
    assert [notice.action for notice in noticed] == ["rebirth_unanswered"]


def test_after_connecting_every_node_is_asked_unless_it_speaks_by_itself():
    """A node that says its births in the first moments is left alone; the requests to many nodes are spread."""
    plant = Plant()
    plant.nodes.connected(plant.now())
    plant.born()
    assert not plant.later(60).rebirths
    silent = Plant()
    silent.nodes.connected(silent.now())
    assert not silent.hear().rebirths
    assert silent.later(4).rebirths == ["G/N"]


def test_chance_spreads_the_requests():
    """Two nodes that need a birth at the same moment are not asked at the same moment."""
    due = []
    for chance in (0.0, 1.0):
        asking = Rebirths(30, lambda chance=chance: chance)  # type: ignore[misc]
        asking.want(1000, 2)
        due.append(asking.due)
    assert due == [1001, 1003]
