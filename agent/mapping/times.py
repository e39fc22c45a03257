"""Time stamps of the floor → aware UTC, within what is believed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from agent.errors import BadPayload
from agent.mapping.document import Time
from agent.mapping.fields import Body, bad, lookup, one_key, shown, wrong_type

ReadTime = Callable[[Body, datetime], datetime | None]  # the message and when it arrived

LONGEST: Final = 64  # characters of a time stamp

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS: Final = {"epoch_ms": 1_000, "epoch_s": 1_000_000}


def time_reader(time: Time, path: str, *, required: bool) -> ReadTime:
    """A function that reads the time stamp at `path`, None where an optional one is absent. It raises BadPayload."""
    get, parse = lookup(path), _parser(time, path)
    key = one_key(path) if time.format == "iso8601" else None
    earliest, latest = -timedelta(days=time.max_age_days), timedelta(seconds=time.max_future_seconds)

    def read(body: Body, received_at: datetime) -> datetime | None:
        value = body.get(key)  # type: ignore[arg-type]  # None is no key of a message
        moment = _with_offset(value) if value is not None else None
        if moment is None:
            value = get(body)
            if value is None and not required:
                return None
            moment = _parsed(value, parse, time, path)
        if not earliest <= moment - received_at <= latest:
            raise _unbelievable(value, moment, received_at, time, path)
        return moment

    return read


def _with_offset(value: Any) -> datetime | None:
    """A time stamp as most are: ISO 8601 with its offset. None: it must be looked at."""
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None and value[10] in "T " and 16 <= len(value) <= LONGEST:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    return None


def _parsed(value: Any, parse: Callable[[Any], datetime], time: Time, path: str) -> datetime:
    try:
        return parse(value)
    except (ValueError, OverflowError) as error:
        raise bad(f"{shown(value)} is no time stamp of format {time.format}: {error}", path, "bad_time") from None


def _parser(time: Time, path: str) -> Callable[[Any], datetime]:
    """Value → aware UTC; raises ValueError, OverflowError, or BadPayload for another type."""
    if time.format in _MICROSECONDS:
        unit = _MICROSECONDS[time.format]

        def from_epoch(value: Any) -> datetime:
            if type(value) is not int and type(value) is not Decimal:
                raise wrong_type(value, "a number", path)
            return _EPOCH + timedelta(microseconds=int(value * unit))

        return from_epoch
    pattern = None if time.format == "iso8601" else time.format

    def from_text(value: Any) -> datetime:
        if type(value) is not str:
            raise wrong_type(value, "a text", path)
        if len(value) > LONGEST or not value.isprintable():
            raise ValueError("it is too long or holds control characters")
        if pattern:
            moment = datetime.strptime(value, pattern)  # noqa: DTZ007  # see _in_zone
        elif value[10:11] in ("T", " ") and len(value) >= 16:
            moment = datetime.fromisoformat(value)
        else:
            raise ValueError("write it like 2026-11-20T14:00:05+01:00")
        return moment.astimezone(UTC) if moment.tzinfo else _in_zone(moment, time)

    return from_text


def _in_zone(moment: datetime, time: Time) -> datetime:
    """A wall-clock time of the configured zone in UTC. The hour that is skipped or repeated is not guessed."""
    if time.zone is None:
        raise ValueError("it names no offset, and the mapping names no zone")
    first, second = (_as_utc(moment, time.zone, fold) for fold in (0, 1))
    if first == second:
        return first
    if second < first:  # a wall clock never showed this time
        raise ValueError(f"there is no such time in {time.zone}: the clocks went forward")
    if time.repeated_hour == "refuse":
        raise ValueError(f"it was twice in {time.zone}; say in the mapping which repeated_hour is meant")
    return first if time.repeated_hour == "first" else second


def _as_utc(moment: datetime, zone: ZoneInfo, fold: int) -> datetime:
    return moment.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _unbelievable(value: Any, moment: datetime, received_at: datetime, time: Time, path: str) -> BadPayload:
    limit = f"{time.max_age_days} days before" if moment < received_at else f"{time.max_future_seconds} s after"
    return bad(
        f"{shown(value)} is {moment:%Y-%m-%d %H:%M:%S} UTC, more than {limit} the arrival at "
        f"{received_at:%Y-%m-%d %H:%M:%S}; check the sender's clock and the format ({time.format})",
        path,
        "bad_time",
    )
