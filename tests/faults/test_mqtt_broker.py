"""What the broker and the link can do to the MQTT source: nothing is lost, and what cannot be helped is named."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from agent.ports import Batch
from agent.sources.mqtt import Pace
from simulators.broker import free_port
from tests.mqtt_bench import QUICK, Script, Shelf, mosquitto, publish, running, source, until


def numbered(count: int, word: str = "n") -> list[bytes]:
    return [f"{word}{number}".encode() for number in range(count)]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_lost_session_is_an_event_and_late_acknowledgements_go_nowhere(tmp_path: Path, version: str):
    """The broker forgets everything; acknowledgements of the old session must not settle new messages (same ids)."""
    async with mosquitto(tmp_path, persistence="false") as broker:
        shelf = Shelf(storing=False)
        async with running(source(broker.port, version=version), shelf) as mqtt:
            shelf.store()  # the session is on record
            await publish(broker.port, numbered(20, "old"))
            await until(lambda: len(shelf.deliveries) == 20)
            await broker.restart(kill=True)
            await until(lambda: shelf.notices("session_lost"))
            old = len(shelf.batches)
            await publish(broker.port, numbered(20, "new"))
            await until(lambda: len(shelf.deliveries) == 40)
            shelf.store(old - 1)  # what arrived before the session was lost becomes durable only now
            await until(lambda: not mqtt._acks)
            assert mqtt.status()["in_flight"] == 20
        detail = shelf.notices("session_lost")[0].detail
        assert detail["last"]["topic"] == "plant/a"
        assert detail["last"]["packet_id"] == 20
        assert shelf.notices("session_lost")[0].alarm
        after = Shelf()
        async with running(source(broker.port, version=version), after):
            await until(lambda: len(after.deliveries) == 20)
        assert after.payloads == numbered(20, "new")


async def test_a_session_lost_while_the_agent_was_away_names_the_last_message(tmp_path: Path):
    """The memory of the session is in the store, so that a restarted agent notices the loss too."""
    async with mosquitto(tmp_path, persistence="false") as broker:
        first = Shelf()
        async with running(source(broker.port), first):
            await publish(broker.port, [b"seen"], "plant/scale-4")
            await until(lambda: first.payloads)
        await broker.restart()
        second = Shelf()
        second.kept = first.kept
        async with running(source(broker.port), second):
            await until(lambda: second.notices("session_lost"))
        assert second.notices("session_lost")[0].detail["last"]["topic"] == "plant/scale-4"
        third = Shelf()
        third.kept = first.kept
        await broker.restart()
        async with running(source(broker.port, expects_persistent=False), third):
            await publish(broker.port, [b"seen"])
            await until(lambda: third.payloads)
        assert not third.notices("session_lost")


async def test_a_broker_restart_is_survived_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """SIGTERM and a start later the source is back by itself; the log has one line for lost and one for back."""
    caplog.set_level(logging.INFO, "gatepost.mqtt")
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port), shelf) as mqtt:
            caplog.clear()
            await broker.stop()
            await until(lambda: "refused" in (mqtt.status()["error"] or ""))
            await until(lambda: mqtt.status()["failures"] > 3)
            await broker.start()
            await until(lambda: mqtt.status()["connected"])
            await publish(broker.port, [b"after"])
            await until(lambda: shelf.payloads == [b"after"])
            assert mqtt.status()["reconnects"] == 1
            assert mqtt.status()["error"] is None
        told = [record.message for record in caplog.records]
        assert sum("lost" in message and "refused" in message for message in told) == 1
        assert sum("back" in message for message in told) == 1
        assert not shelf.notices("session_lost")


async def test_fail_over_to_the_next_broker(tmp_path: Path):
    """With the first broker gone the second takes over, as an event; a free port stands for a broker that is down."""
    async with mosquitto(tmp_path / "a") as first, mosquitto(tmp_path / "b") as second:
        shelf = Shelf()
        async with running(source(free_port(), first.port, second.port), shelf) as mqtt:
            assert mqtt.status()["broker"].endswith(str(first.port))
            await first.stop()
            await until(lambda: mqtt.status()["connected"] and mqtt.status()["broker"].endswith(str(second.port)))
            await publish(second.port, [b"there"])
            await until(lambda: shelf.payloads == [b"there"])
        assert shelf.notices("failed_over")[0].detail["to"].endswith(str(second.port))
        assert not shelf.notices("session_lost")


async def test_brokers_that_are_all_down_are_told_once_each(caplog: pytest.LogCaptureFixture):
    """However many rounds over the list: one line per broker."""
    mqtt = source(free_port(), free_port(), pace=Pace(first=0.02, most=0.02, idle=0.1))
    async with running(mqtt, Shelf(), connected=False):
        await until(lambda: mqtt.status()["failures"] >= 8)
    assert len(caplog.records) == 2
    assert mqtt.status()["reconnects"] == 0


async def test_a_full_intake_holds_the_broker_back_then_disconnects_and_resumes(tmp_path: Path):
    """Blocked for longer than 1.2 × keep-alive the source hangs up; with room again everything arrives, none lost."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port, keep_alive_s=1), shelf) as mqtt:
            await until(lambda: shelf.kept)
            shelf.full = True
            await publish(broker.port, numbered(500))
            await until(lambda: mqtt.status()["blocked_since"])
            await until(lambda: "the store took nothing" in (mqtt.status()["error"] or ""))
            assert shelf.payloads == []
            shelf.open()
            await until(lambda: set(shelf.payloads) == set(numbered(500)))
            await until(lambda: mqtt.status()["in_flight"] == 0 and mqtt.status()["connected"])
            assert mqtt.status()["blocked_since"] is None
        assert shelf.notices("back_pressure")
        assert not shelf.notices("second_instance")


async def test_an_intake_that_is_full_again_and_again_is_no_second_instance(tmp_path: Path):
    """Hanging up by itself, more often than a second instance would, the source raises no alarm about one."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        async with running(source(broker.port, keep_alive_s=1), shelf) as mqtt:
            await until(lambda: shelf.kept)
            for number in range(Pace().takeovers + 1):
                shelf.full = True
                await publish(broker.port, [b"n%d" % number])
                await until(lambda: not mqtt.status()["connected"])
                shelf.open()
                await until(lambda: mqtt.status()["connected"])
                assert mqtt._retry.penalty == 0
        assert not shelf.notices("second_instance")


async def test_a_short_hold_keeps_the_connection(tmp_path: Path):
    """Blocked for less than keep-alive the connection stays, and acknowledgements go out meanwhile."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf(storing=False)
        async with running(source(broker.port), shelf) as mqtt:
            await publish(broker.port, [b"first"])
            await until(lambda: shelf.payloads == [b"first"])
            shelf.full = True
            await publish(broker.port, [b"second"])
            await until(lambda: mqtt.status()["blocked_since"])
            shelf.store()
            await until(lambda: mqtt.status()["in_flight"] == 1)
            shelf.open()
            await until(lambda: shelf.payloads == [b"first", b"second"])
            assert mqtt.status()["reconnects"] == 0


class Failing(Shelf):
    """An intake whose first hand-overs end in an error."""

    failures = 3

    def put(self, batch: Batch, timeout: float | None = None) -> bool:
        if batch.deliveries and self.failures:
            self.failures -= 1
            raise RuntimeError("no such savepoint")
        return super().put(batch, timeout)


async def test_an_unexpected_error_does_not_end_the_thread(tmp_path: Path):
    """An exception on the network thread is shown and told; the message is delivered by a later try."""
    async with mosquitto(tmp_path) as broker:
        shelf = Failing()
        async with running(source(broker.port), shelf) as mqtt:
            await publish(broker.port, [b"once"])
            await until(lambda: b"once" in shelf.payloads)
            await until(lambda: mqtt.status()["connected"] and mqtt.status()["in_flight"] == 0)
        assert "no such savepoint" in shelf.notices("source_error")[0].detail["error"]


async def test_a_commit_after_the_stop_harms_nobody(tmp_path: Path):
    """`stored` never raises on the writer's thread, even when the source is gone and its sockets are closed."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf(storing=False)
        mqtt = source(broker.port)
        async with running(mqtt, shelf):
            await publish(broker.port, [b"late"])
            await until(lambda: shelf.payloads)
        shelf.store()
        shelf.storing = True
        async with running(mqtt, shelf):  # the same object runs again
            await until(lambda: shelf.payloads == [b"late", b"late"])


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_second_instance_is_an_alarm_and_stops_the_flapping(tmp_path: Path, version: str):
    """Two agents with one client id take the session from each other; soon one of them names it and waits."""
    pace = Pace(first=0.05, most=0.1, refused=60, idle=0.1)
    async with mosquitto(tmp_path) as broker:
        one, other = source(broker.port, pace=pace, version=version), source(broker.port, pace=pace, version=version)
        shelves = Shelf(), Shelf()
        async with running(one, shelves[0]), running(other, shelves[1], connected=False):
            await until(lambda: one._retry.penalty or other._retry.penalty)
            loser, shelf = (one, shelves[0]) if one._retry.penalty else (other, shelves[1])
            winner = other if loser is one else one
            await until(lambda: winner.status()["connected"])
            assert not loser.status()["connected"]
            assert [notice.action for notice in loser._notices if notice.alarm] == ["second_instance"]
            assert not shelf.notices("second_instance")


async def test_an_alarm_reaches_the_store_without_a_connection(tmp_path: Path):
    """What the source noticed is handed over before the next try, not after the next message."""
    with Script({1: b"\x20\x02\x00\x05"}) as script:
        shelf = Shelf()
        pace = Pace(first=0.05, most=0.1, refused=0.1, idle=0.1)
        async with running(source(script.port, version="3.1.1", pace=pace), shelf, connected=False):
            await until(lambda: shelf.notices("not_authorised"))
            await until(lambda: script.connections >= 6)
        assert len(shelf.notices("not_authorised")) == 1


async def test_an_alarm_reaches_the_store_although_nobody_listens_any_more(tmp_path: Path):
    """Refused once, and then there is no broker: the alarm is in the store all the same."""
    script, shelf = Script({1: b"\x20\x02\x00\x05"}), Shelf()
    pace = Pace(first=0.05, most=0.1, refused=0.1, idle=0.1)
    async with running(source(script.port, version="3.1.1", pace=pace), shelf, connected=False):
        with script:
            await until(lambda: script.connections)
        await until(lambda: shelf.notices("not_authorised"))


async def test_a_wrong_password_is_named_and_not_hammered(tmp_path: Path):
    """Not authorised: one clear line, an alarm, and 60 s before the next try."""
    (tmp_path / "passwords").write_text("")
    async with mosquitto(tmp_path, allow_anonymous="false", password_file=str(tmp_path / "passwords")) as broker:
        mqtt = source(broker.port, user="gatepost", pace=Pace(first=0.05, idle=0.05))
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: mqtt.status()["error"])
            assert "check user, password and the access list" in mqtt.status()["error"]
            assert mqtt._retry.penalty == 60


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no MQTT broker answers here"),
        (b"\x20\x02\x00\x00\x40\xff\xff\x7f", "control packet of 2097151 bytes"),
        (b"\x20\x02\x00\x00\x32\xff\xff\xff\xff\x7f", "not MQTT"),
        (b"\x20\x02\x00\x00\x32\x04\x00\x09a/", "shorter than its own header"),
        (b"\x20\x02\x00\x00\x36\x07\x00\x03a/b\x00\x01", "QoS 3"),
        (b"", "closed the connection"),
    ],
)
async def test_what_is_not_mqtt_ends_the_connection_with_its_reason(answer: bytes, what: str):
    """Garbage is refused with a sentence, and the source tries again."""
    with Script({1: answer}) as script:
        mqtt = source(script.port, version="3.1.1")
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: script.connections >= 2)
            assert what in mqtt.status()["error"]


async def test_a_silent_broker_is_left(tmp_path: Path):
    """A link on which nothing comes back is given up after 1.5 × keep-alive."""
    with Script({1: b"\x20\x02\x01\x00", 8: b"\x90\x03ID\x01"}) as script:  # answers no PINGREQ
        mqtt = source(script.port, version="3.1.1", keep_alive_s=1)
        async with running(mqtt, Shelf()):
            await until(lambda: script.connections >= 2 and 12 in script.types())


async def test_silence_is_told_before_a_broker_is_left():
    """A broker that leaves a ping unanswered is told as silent while it still counts as connected, not afterwards."""
    with Script({1: b"\x20\x02\x01\x00", 8: b"\x90\x03ID\x01"}) as script:  # answers no PINGREQ
        mqtt = source(script.port, version="3.1.1", keep_alive_s=2)
        seen = []

        def told() -> bool:
            seen.append(mqtt.status())
            return seen[-1]["connected"] and seen[-1]["silent_s"] is not None

        async with running(mqtt, Shelf()):
            await until(told)
            assert seen[-1]["silent_s"] > 1
            await until(lambda: not told() and not seen[-1]["connected"])
            assert seen[-1]["silent_s"] is None


async def test_an_idle_broker_that_answers_is_not_silent():
    """Where nothing is reported, answers to pings are enough: nobody reads of silence."""
    with Script({1: b"\x20\x02\x01\x00", 8: b"\x90\x03ID\x01", 12: b"\xd0\x00"}) as script:
        mqtt = source(script.port, version="3.1.1", keep_alive_s=8)  # a machine may stand still for two seconds
        told = set()

        def pinged() -> bool:
            told.add(mqtt.status()["silent_s"])
            return script.types().count(12) >= 3

        async with running(mqtt, Shelf()):
            await until(pinged)
        assert told == {None}


async def test_a_link_that_breaks_again_and_again_loses_nothing(tmp_path: Path):
    """25 breaks in the middle of the stream: every message arrives at least once, and in order the first time."""
    async with mosquitto(tmp_path) as broker:
        shelf = Shelf()
        pace = Pace(first=0.02, most=0.05, refused=0.05, idle=0.1)
        async with running(source(broker.port, pace=pace), shelf) as mqtt:
            sending = asyncio.create_task(publish(broker.port, numbered(5000)))

            def broken_and_done() -> bool:
                link = mqtt._link
                if link is not None and mqtt.status()["reconnects"] < 25:
                    with contextlib.suppress(OSError):
                        link._sock.shutdown(2)
                return sending.done() and set(shelf.payloads) == set(numbered(5000))

            await until(broken_and_done, 60)
            await sending
        assert set(shelf.payloads) == set(numbered(5000))
        first_seen = list(dict.fromkeys(shelf.payloads))
        assert first_seen == numbered(5000)


def test_the_quick_pace_of_the_tests_is_no_default():
    """The default pace is the one the documentation promises."""
    assert Pace() == Pace(first=1.0, most=60.0, refused=60.0, takeovers=3, takeover_window=30.0, slice=0.25, idle=1.0)
    assert Pace() != QUICK
    assert all(1.0 <= Pace().delay(rounds) <= min(60.0, 2.0 ** (rounds + 1)) for rounds in range(50))
