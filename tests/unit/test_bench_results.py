"""What `make bench` writes: every name once, in one shape, judged by its own goal."""

import io
import json

import pytest
from rich.console import Console

from simulators.line.wire import Message
from tests.bench import __main__ as bench
from tests.bench import preload
from tests.bench.results import GOALS, Goal, Result, percentile, show, write


@pytest.fixture
def measured():
    """A fake measurement of every name."""
    return [Result(name, 0.8, {"runs": 3}) for name in reversed(list(GOALS))]


def test_every_entry_has_the_same_six_fields(measured, tmp_path):
    """bench.json is a list of name, value, unit, goal, met and details, in the order of the goals."""
    write(measured, tmp_path / "build" / "bench.json")
    entries = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert [one["name"] for one in entries] == list(GOALS)
    for one in entries:
        assert list(one) == ["name", "value", "unit", "goal", "met", "details"]
        assert isinstance(one["value"], float)
        assert isinstance(one["met"], bool)
        assert one["details"] == {"runs": 3}


def test_a_part_measured_later_replaces_only_its_own_names(measured, tmp_path):
    """`--only` keeps what an earlier run has measured under other names."""
    path = tmp_path / "bench.json"
    write(measured, path)
    write([Result("idle_rss_mb", 99.0)], path)
    entries = {one["name"]: one["value"] for one in json.loads(path.read_text())}
    assert entries == dict.fromkeys(GOALS, 0.8) | {"idle_rss_mb": 99.0}


def test_the_measurements_make_every_name_once():
    """No goal is without a measurement, and none is measured twice."""
    made = [name for module in bench.MEASUREMENTS for name in bench.names(module)]
    assert sorted(made) == sorted(GOALS)


@pytest.mark.parametrize(
    ("goal", "met", "missed"),
    [
        (Goal(least=0.75), [0.75, 2.0], [0.7499, float("nan")]),
        (Goal(most=3.0), [3.0, 0.1], [3.01, float("nan")]),
        (Goal(most=50.0, beyond=True), [49.9, -3.0], [50.0]),
        (Goal(least=0.8333, most=1.2), [0.9, 1.2], [0.8, 1.21]),
    ],
)
def test_a_goal_is_met_up_to_its_bound(goal, met, missed):
    """A bound belongs to the goal unless the goal says `beyond`; what is no number never meets one."""
    assert [goal.met(value) for value in met] == [True] * len(met)
    assert [goal.met(value) for value in missed] == [False] * len(missed)


def test_the_table_names_every_value(measured):
    """People see what the file says."""
    said = io.StringIO()
    show(measured, Console(file=said, width=120))
    assert all(name in said.getvalue() for name in GOALS)


def test_a_percentile_is_a_value_that_was_measured():
    """Nearest rank: 99 of 100 values do not exceed the 99th percentile."""
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, p) for p in (50, 99, 100)] == [50.0, 99.0, 100.0]


def test_packets_are_written_as_the_specification_says():
    """A PUBLISH of QoS 1 with its remaining length in one or two bytes (MQTT 3.1.1, 2.2.3 and 3.3)."""
    short, long = preload.encoded([Message("a/b", b"xyz"), Message("a/b", bytes(200))])
    assert short == b"\x32\x0a\x00\x03a/b\x00\x01xyz"
    assert long[:3] == b"\x32\xcf\x01"
