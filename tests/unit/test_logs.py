"""The log never stalls, never tells a secret, and never repeats itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from agent import logs
from agent.access.secrets import Secret


@pytest.fixture
def redaction(monkeypatch) -> logs.Redaction:
    fresh = logs.Redaction()
    monkeypatch.setattr(logs, "redaction", fresh)
    return fresh


def record(message: str, *args: object, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    logger = logging.getLogger("agent.test")
    return logger.makeRecord("agent.test", level, __file__, 1, message, args, None, extra=extra)


@contextmanager
def logging_to(descriptor: int, **options) -> Iterator[tuple[logging.Logger, logs.Sink]]:
    sink = logs.Sink(descriptor, **options)
    sink.setFormatter(logs.JsonFormatter())
    sink.open()
    logger = logging.Logger("agent.test")
    logger.addHandler(sink)
    try:
        yield logger, sink
    finally:
        sink.close(timeout=0.05)


def test_a_json_line_carries_time_level_event_and_fields():
    """A JSON line carries time, level, event and every extra field, exact amounts as text."""
    line = json.loads(
        logs.JsonFormatter().format(record("posting acknowledged", posting_id=7, quantity=Decimal("1.10")))
    )
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "info", "logger": "agent.test", "event": "posting acknowledged", "posting_id": 7, "quantity": "1.10",
    }  # fmt: skip


def test_the_event_stays_the_same_while_the_message_differs():
    """A message with values keeps its unformatted text as event, so that it can be searched for."""
    line = json.loads(logs.JsonFormatter().format(record("broker %s lost", "line-1")))
    assert (line["event"], line["message"]) == ("broker %s lost", "broker line-1 lost")


def test_text_from_outside_cannot_break_the_line_or_the_terminal():
    """Line breaks, terminal codes and direction overrides of a lot number are shown as escapes."""
    line = logs.TextFormatter().format(record("lot unknown", lot="A\n2026 forged\x1b[2J\u202e"))
    assert "lot=A\\x0a2026 forged\\x1b[2J\\x202e" in line
    assert "\n" not in line


def test_the_text_of_an_exception_cannot_talk_to_the_terminal():
    """A traceback keeps its lines; what the exception quotes from outside is shown as escapes."""
    one = record("failed")
    try:
        raise ValueError("no number: 1\x1b[2J\u202e")
    except ValueError:
        one.exc_info = sys.exc_info()
    first, *trace = logs.TextFormatter().format(one).splitlines()
    assert first.endswith("failed")
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "ValueError: no number: 1\\x1b[2J\\x202e"


@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()])
@pytest.mark.parametrize("secret", ["hunter2!", 'quo"te\\back', "umläut & space"])
def test_a_concealed_secret_never_appears(redaction, formatter, secret):
    """A secret is masked in messages, fields and tracebacks, in whatever spelling a library prints it."""
    redaction.conceal(secret)
    try:
        raise ValueError(f"login with {secret} refused")
    except ValueError:
        one = record("login %s", secret, password=secret, header={"authorization": secret})
        one.exc_info = sys.exc_info()
    line = formatter.format(one)
    assert secret not in line
    assert json.dumps(secret)[1:-1] not in line
    assert logs.MASK in line


def test_a_secret_too_short_to_mask_leaves_lines_readable(redaction):
    """A one-letter secret does not turn every line into stars."""
    redaction.conceal("a")
    assert redaction.apply("a line") == "a line"


def test_the_same_line_appears_once_in_ten_seconds_and_says_how_often():
    """Repetitions within ten seconds are left out; the next line says how many."""
    now = [100.0]
    repetition = logs.Repetition(monotonic=lambda: now[0])
    assert [repetition.filter(record("broker lost", source="a")) for _ in range(5)] == [True] + [False] * 4
    assert repetition.filter(record("broker lost", source="b"))
    now[0] += logs.QUIET_SECONDS
    again = record("broker lost", source="a")
    assert repetition.filter(again)
    assert json.loads(logs.JsonFormatter().format(again))["repeated"] == 4


def test_remembered_lines_are_bounded():
    """However many different lines are logged, only the last thousand are remembered."""
    repetition = logs.Repetition()
    assert all(repetition.filter(record("stored", event_id=n)) for n in range(logs.REMEMBERED + 50))
    assert len(repetition._seen) == logs.REMEMBERED


def test_a_reader_that_stops_costs_lines_but_no_time():
    """With nobody reading the pipe, logging returns at once and counts what it dropped."""
    reader, writer = os.pipe()
    with logging_to(writer, capacity=10) as (logger, sink):

        def flood() -> None:
            for _ in range(1000):
                logger.info("x" * 4096)

        writing = threading.Thread(target=flood, daemon=True)
        writing.start()
        writing.join(60)
        assert not writing.is_alive(), "logging stalled behind a reader that does not read"
        assert sink.dropped > 100
        os.close(reader)
    sink._thread.join(60)
    os.close(writer)


def test_a_full_volume_costs_lines_and_is_counted():
    """When the log volume is full every line is dropped and counted, and nothing is raised."""
    full = os.open("/dev/full", os.O_WRONLY)
    with logging_to(full) as (logger, sink):
        for n in range(20):
            logger.warning("stored", extra={"event_id": n})
    sink._thread.join(60)
    assert sink.dropped == 20
    os.close(full)


def test_a_field_that_cannot_be_shown_does_not_stop_the_caller():
    """A value whose text fails costs its line, not the work that logged it."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    reader, writer = os.pipe()
    with logging_to(writer) as (logger, sink):
        logger.info("broken", extra={"value": Broken()})
        assert sink.dropped == 1
    os.close(reader)
    os.close(writer)


def test_started_logging_writes_what_was_queued_before_the_process_ends():
    """A process that logs and ends normally has written every line, foreign loggers' warnings included."""
    program = (
        "import logging, warnings; from agent import logs; sink = logs.start('json');"
        "logging.getLogger('agent.x').info('one'); logging.getLogger('asyncio').info('noise'); warnings.warn('two')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning"]
    assert lines[0]["event"] == "one"
    assert "two" in lines[1]["event"]


def test_a_secret_of_the_configuration_never_reaches_a_line():
    """Whatever text a secret turns up in, the line shows stars instead."""
    Secret("erp_password", "pa55-canary")
    record = logging.LogRecord("gatepost", logging.ERROR, "x", 1, "401 for GATEPOST:%s", ("pa55-canary",), None)
    assert "pa55-canary" not in logs.TextFormatter().format(record)
