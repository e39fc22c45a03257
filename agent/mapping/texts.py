"""All texts of a message at once: checked together, and one by one only where something about them is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from agent.mapping.document import Pick
from agent.mapping.fields import Body, Levels, Text, is_required, one_key, text_reader

Texts = tuple[Any, ...]  # texts, and None for an identity that the sender does not give
ReadTexts = Callable[[Body], Texts]


class Wanted(NamedTuple):
    """One text: how it is read by itself, and where it is picked; no pick: it is the same for every message."""

    read: Text | Callable[[Body, Levels], str | None]
    pick: Pick | None
    required: bool
    composed: bool = False  # of several picks

    @property
    def given(self) -> bool:
        """Whether file and topic alone say it."""
        return not self.composed and (self.pick is None or self.pick.path is None)

    @property
    def plain(self) -> bool:
        """Whether it simply stands under one key."""
        pick = self.pick
        return pick is not None and not pick.number_as_text and pick.map is None and one_key(pick.path) is not None

    @property
    def may_be_empty(self) -> bool:
        """Whether an empty text of the message is simply an empty text of the report."""
        return self.pick is None or (not is_required(self.pick, required=self.required) and not self.pick.default)


def texts_reader(wanted: Sequence[Wanted]) -> Callable[[Levels], ReadTexts]:
    """Topic → a function that reads these texts of a message, in this order. Both raise BadPayload."""
    given = [one for one in wanted if one.given]
    plain = sorted((one for one in wanted if one.plain), key=lambda one: one.may_be_empty)
    if len(plain) < 2:
        plain = []
    own = [one for one in wanted if one not in given and one not in plain]
    order = [*given, *plain, *own]
    arrange = itemgetter(*[order.index(one) for one in wanted])
    together = _together(plain)
    alone = [one.read for one in own]

    def bind(levels: Levels) -> ReadTexts:
        known = tuple([one.read({}, levels) for one in given])

        def read(body: Body) -> Texts:
            texts = known + together(body, levels)
            if alone:
                texts += tuple([read_one(body, levels) for read_one in alone])
            arranged: Texts = arrange(texts)
            return arranged

        return read

    return bind


def _together(plain: Sequence[Wanted]) -> Callable[[Body, Levels], Texts]:
    """Texts that stand under one key each: as they are, if nothing is wrong with all of them joined."""
    if not plain:
        return lambda body, levels: ()
    picks = [one.pick for one in plain if one.pick is not None]
    get = itemgetter(*[one_key(pick.path) for pick in picks])
    longest, readers = min(pick.max_length for pick in picks), [one.read for one in plain]
    filled = sum(not one.may_be_empty for one in plain)  # these come first

    def read(body: Body, levels: Levels) -> Texts:
        try:
            texts: tuple[str, ...] = get(body)
            joined = "".join(texts)
        except (KeyError, TypeError):
            pass
        else:
            if len(joined) <= longest and joined.isprintable() and "" not in texts[:filled]:
                return texts
        return tuple([read_one(body, levels) for read_one in readers])

    return read


def wanted(pick: Pick | None, *, required: bool) -> Wanted:
    """A text of its own; without a pick an empty one."""
    return Wanted(text_reader(pick, required=required), pick, required)
