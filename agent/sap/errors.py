"""What went wrong at SAP, read from every shape of error body, and what it means that there is no answer at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from agent.errors import ErpError, ErpInDoubt, ErpUnavailable
from agent.sap.channel import NoAnswer, NotSent

ALREADY_PROCESSED: Final = "/IWBEP/CM_COS/005"  # «RequestID is outdated … has been processed before»
SHORTEST_WAIT, LONGEST_WAIT, UNREADABLE_WAIT = 1.0, 3600.0, 30.0  # seconds


@dataclass(frozen=True, slots=True)
class SapError:
    """An error in SAP's own words. `code` is message class/number (``M7/021``); empty where the body carried none."""

    code: str
    message: str
    details: tuple[str, ...] = ()  # "M7/021: Deficit of …", one per errordetail
    transactionid: str = ""  # with `timestamp` what a Basis administrator needs in /IWFND/ERROR_LOG
    timestamp: str = ""

    def __str__(self) -> str:
        words = f"{self.code}: {self.message}" if self.code else self.message
        more = [detail for detail in self.details if self.message not in detail]
        return "; ".join([words, *more])


# ── error bodies ────────────────────────────────────────────────────────────────────────────────────────────


def read_error(body: bytes) -> SapError | None:
    """The error in a body of any shape: V2 object, message as array, V4, XML. None: no SAP error, such as HTML."""
    text = body.lstrip()
    if text[:1] in (b"{", b"["):
        return _from_json(text)
    if text[:1] == b"<" and b"<error" in text[:600]:
        return _from_xml(text)
    return None


def _from_json(text: bytes) -> SapError | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list):
        document = next((item for item in document if isinstance(item, dict)), {})
    error = document.get("error")
    return _from_object(error) if isinstance(error, dict) else None


def _from_object(error: Mapping[str, Any]) -> SapError:
    inner = error.get("innererror")
    inner = inner if isinstance(inner, dict) else {}
    listed = inner.get("errordetails") or error.get("details") or ()
    if isinstance(listed, dict):  # one detail not wrapped in an array
        listed = (listed.get("errordetail") or listed,)
    return SapError(
        code=_code(error.get("code")),
        message=_words(error.get("message")) or "no message",
        details=tuple(_detail(item) for item in listed if isinstance(item, dict)),
        transactionid=plain(inner.get("transactionid")),
        timestamp=plain(inner.get("timestamp")),
    )


def _detail(item: Mapping[str, Any]) -> str:
    return f"{_code(item.get('code'))}: {_words(item.get('message'))}"


def _words(message: object) -> str:
    """The text of a V2 message object, an array of them, or a V4 string."""
    if isinstance(message, dict):
        return plain(message.get("value"))
    if isinstance(message, list):
        return "; ".join(filter(None, map(_words, message)))
    return plain(message)


def plain(value: object) -> str:
    """A text of an answer as it can be kept and shown: half a surrogate pair or a NUL would be refused by the store."""
    text = str(value or "")
    return (text if text.isprintable() else "".join(sign if sign.isprintable() else " " for sign in text)).strip()


def _code(code: object) -> str:
    """The code with one separator: SAP writes both ``/IWBEP/CM_COS/005`` and ``/IWBEP/CM_COS 005``."""
    return re.sub(r"\s+", "/", plain(code))[:100]


def _from_xml(text: bytes) -> SapError | None:
    try:
        root = fromstring(text)
    except (ParseError, DefusedXmlException, ValueError, RecursionError):
        return None
    found = {_local(node): (node.text or "").strip() for node in reversed(list(root.iter()))}  # the outermost wins
    if _local(root) != "error" or "message" not in found:
        return None
    details = [{_local(child): child.text for child in node} for node in root.iter() if _local(node) == "errordetail"]
    return SapError(
        code=_code(found.get("code")),
        message=found["message"] or "no message",
        details=tuple(map(_detail, details)),
        transactionid=found.get("transactionid", ""),
        timestamp=found.get("timestamp", ""),
    )


def _local(node: Element) -> str:
    return str(node.tag).rpartition("}")[2]


def excerpt(body: bytes) -> str:
    """The beginning of an answer that nobody understands, fit for a log line and a person."""
    text = re.sub(rb"(?is)<(script|style).*?</\1>|<[^>]*>", b" ", body[:2000]).decode("utf-8", "replace")
    shown = " ".join(plain(text).split())
    return shown[:160] or "empty body"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that SAP asks for, between one second and one hour whatever it wrote; None: it did not ask.

    A date counts from the answer's own ``Date``, so that a wrong clock here does not matter.
    """
    asked = headers.get("retry-after")
    if asked is None:
        return None
    try:
        if asked.strip().lstrip("+-").isdigit():
            seconds = float(asked)
        else:
            seconds = (parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return UNREADABLE_WAIT
    return min(max(seconds, SHORTEST_WAIT), LONGEST_WAIT)


# ── no answer at all ────────────────────────────────────────────────────────────────────────────────────────


def without_answer(error: NotSent | NoAnswer | TimeoutError, where: str, *, reading: bool) -> ErpError:
    """What it means for a posting that a call brought no answer. A read changes nothing, so it is only unavailable.

    A TimeoutError is the deadline of the whole call: the request had left long before.
    """
    what = str(error) or "no answer in time"
    if reading or isinstance(error, NotSent):
        return ErpUnavailable(f"{where}: not reachable ({what}); check address, network and certificate")
    return ErpInDoubt(f"{where}: sent, but no answer ({what}); the document is looked for before anything is repeated")
