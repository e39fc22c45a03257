"""Values that are made from the store once and kept, for what is asked again and again and seldom changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from operator import is_
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Key → value, as long as what all of them rest on is the same objects; what is not asked for is forgotten."""

    def __init__(self) -> None:
        self._known: dict[K, V] = {}
        self._rest_on: tuple[Any, ...] = ()

    def of(self, keys: Iterable[K], rest_on: tuple[Any, ...], make: Callable[[K], V]) -> list[V]:
        """The values of these keys in their order; only those that are not known are made."""
        same = len(self._rest_on) == len(rest_on) and all(map(is_, self._rest_on, rest_on))
        known = self._known if same else {}
        values = {key: known[key] if key in known else make(key) for key in keys}
        self._known, self._rest_on = values, rest_on
        return list(values.values())
