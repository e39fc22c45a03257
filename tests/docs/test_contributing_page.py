"""The page on contributing: what it asks of the code is so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

BROAD = {"Exception", "BaseException"}
FILES = sorted(one for folder in ("agent", "models", "simulators") for one in Path(folder).rglob("*.py"))


def unreasoned(source: str) -> list[int]:
    """The lines of handlers that catch everything and do not pass it on, without a comment."""
    lines = source.splitlines()
    return [
        one.lineno
        for one in ast.walk(ast.parse(source))
        if isinstance(one, ast.ExceptHandler)
        and (one.type is None or {name.id for name in ast.walk(one.type) if isinstance(name, ast.Name)} & BROAD)
        and not (isinstance(last := one.body[-1], ast.Raise) and last.exc is None)
        and "  # " not in lines[one.lineno - 1].replace("# noqa: BLE001", "")
    ]


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except: x", 1),
        ("except Exception: x", 1),
        ("except (OSError, Exception): x", 1),
        ("except BaseException as error: x", 1),
        ("except Exception: x  # noqa: BLE001", 1),
        ("except Exception: x  # the thread must live", 0),
        ("except Exception: x  # noqa: BLE001  # the thread must live", 0),
        ("except OSError: x", 0),
        ("except BaseException:\n    x\n    raise", 0),
    ],
)
def test_a_broad_except_without_its_reason_is_found(handler: str, found: int):
    """Whoever catches everything says on that line why, or passes it on."""
    assert len(unreasoned(f"try:\n    pass\n{handler}\n")) == found


def test_a_broad_except_has_its_reason_on_the_line():
    """Every handler of the agent, the models and the bench that catches everything tells why."""
    assert [f"{path}:{line}" for path in FILES for line in unreasoned(path.read_text())] == []
