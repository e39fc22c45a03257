"""What tests of edge nodes share: nodes that hear messages, on a clock that a test sets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from agent.ports import Delivery
from agent.sparkplug.names import read_address
from agent.sparkplug.nodes import Nodes
from agent.sparkplug.session import Effects, Lost, Moment, Patience
from tests.sparkplug_bench import NOW, TAGS, birth_of_device, message, metric, nbirth, payload

OF_DEVICE = frozenset({"total", "done", "order", "ack"})
ALL = OF_DEVICE | {"speed"}


class Plant:
    """Nodes on a clock that a test sets."""

    def __init__(self, tags: dict[str, str] | None = None, **patience: float) -> None:
        addresses = {tag: read_address(text) for tag, text in (tags or TAGS).items()}
        self.nodes = Nodes(addresses, Patience(**patience), lambda: 0.5)
        self.ticks = 1000.0
        self.out = Effects()

    @property
    def node(self) -> Any:
        return self.nodes.nodes["G/N"]

    def now(self) -> Moment:
        return Moment(NOW + timedelta(seconds=self.ticks - 1000), self.ticks)

    def hear(self, *messages: Delivery) -> Effects:
        """What these messages lead to, and what is due by now."""
        self.out = Effects()
        for one in messages:
            self.nodes.take(one, self.now(), self.out)
        self.nodes.tick(self.now(), self.out)
        return self.out

    def later(self, seconds: float) -> Effects:
        self.ticks += seconds
        return self.hear()

    def born(self, total: int = 100, *, bd: int = 0) -> Effects:
        return self.hear(
            message("NBIRTH", nbirth(metric("Speed", 12.5, 9, alias=9), bd=bd)),
            message("DBIRTH", payload(*birth_of_device(total), seq=1), "D"),
        )


def data(seq: int, *metrics: bytes) -> Delivery:
    """A DDATA of the device."""
    return message("DDATA", payload(*(metrics or (metric(value=seq, alias=1),)), seq=seq), "D")


def said(effects: Effects) -> dict[str, Any]:
    """Tag → the value that it has now."""
    return {one.tag: one.now.value for step in effects.steps if not isinstance(step, Lost) for one in step}


def lost(effects: Effects) -> set[str]:
    """The tags that are stale."""
    return {tag for step in effects.steps if isinstance(step, Lost) for tag in step.tags}


def actions(effects: Effects) -> list[str]:
    """What is noticed."""
    return [notice.action for notice in effects.notices]
