"""Property trees: what `self.props.text` and `view.params.id` reach into, by attribute, by key or by path."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


def steps(path: str) -> list[str | int]:
    """`props.style.classes`, `columns[0].field` → the keys on the way."""
    return [int(index) if index else name for name, index in _STEP.findall(path)]


def get(tree: Any, path: str | list[str | int]) -> Any:
    """What stands there; None where there is nothing."""
    for step in steps(path) if isinstance(path, str) else path:
        if hasattr(tree, "plain"):
            tree = tree.plain()
        try:
            tree = tree[step]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def put(tree: Any, path: str | list[str | int], value: Any) -> None:
    """Write there; what is missing on the way is made."""
    way = steps(path) if isinstance(path, str) else path
    for here, after in itertools.pairwise(way):
        nothing: Any = [] if isinstance(after, int) else {}
        if isinstance(tree, list):
            assert isinstance(here, int)
            while len(tree) <= here:
                tree.append(None)
            tree[here] = tree[here] if tree[here] is not None else nothing
        elif tree.get(here) is None:
            tree[here] = nothing
        tree = tree[here]
    if isinstance(tree, list):
        last = way[-1]
        assert isinstance(last, int)
        while len(tree) <= last:
            tree.append(None)
    tree[way[-1]] = value


class Tree:
    """A part of a property tree as scripts see it. Writing tells `changed`."""

    def __init__(self, content: Any, changed: Callable[[], None]) -> None:
        self.__dict__["_content"], self.__dict__["_changed"] = content, changed

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._wrapped(self._content.get(name) if isinstance(self._content, dict) else None)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __getitem__(self, key: Any) -> Any:
        return self._wrapped(self._content[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._content[key] = plain(value)
        self._changed()

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._content) if isinstance(self._content, dict) else map(self._wrapped, self._content)

    def __contains__(self, key: object) -> bool:
        return key in self._content

    def get(self, key: Any, other: Any = None) -> Any:
        """As of a dict."""
        return self._wrapped(self._content.get(key, other))

    def keys(self) -> Any:
        """As of a dict."""
        return self._content.keys()

    def items(self) -> list[tuple[Any, Any]]:
        """As of a dict."""
        return [(key, self._wrapped(value)) for key, value in self._content.items()]

    def append(self, value: Any) -> None:
        """As of a list."""
        self._content.append(plain(value))
        self._changed()

    def toDict(self) -> Any:
        """A copy without wrappers."""
        return plain(self)

    def _wrapped(self, value: Any) -> Any:
        return Tree(value, self._changed) if isinstance(value, dict | list) else value

    def plain(self) -> Any:
        """What it wraps."""
        return self._content


def plain(value: Any) -> Any:
    """Without wrappers, all the way down."""
    if isinstance(value, Tree):
        return plain(value.plain())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value
