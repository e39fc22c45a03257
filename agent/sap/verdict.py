"""What an answer to a posting means: booked, refused, not processed, already posted, or unknown.

200, 201 with a document number: booked · 2xx without one, 3xx, 408, 5xx: unknown (ErpInDoubt) · 423, 409, 425: this
lane waits · 429, and 503 that says when to come back: the target waits (both ErpUnavailable) · 4xx with SAP's own
error: refused (ErpRejected) · 404, 405 without one: the service is not there (ErpUnavailable) · any other 4xx: unknown.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.sap.errors import ALREADY_PROCESSED, SapError, excerpt, plain, read_error, retry_after
from agent.sap.session import Answer, unavailable

LANE_WAITS: Final = (409, 423, 425)
NOT_THERE: Final = (404, 405, 410)
_EXACT: Final = json.JSONDecoder(parse_float=Decimal)


class AlreadyPosted(ErpError):  # noqa: N818 - named by what happens next, as in agent.errors
    """SAP has processed this RequestID before (/IWBEP/CM_COS 005): the document is there, look for it."""


def booked(answer: Answer, *, waiting_codes: Collection[str] = ()) -> Mapping[str, Any]:
    """The entity that SAP says it has created or returned.

    Raises AlreadyPosted, ErpRejected, ErpUnavailable or ErpInDoubt: see the module.
    """
    if answer.status not in (200, 201):
        raise refusal(answer, waiting_codes=waiting_codes)
    document = _json(answer.body)
    entity = document.get("d") if isinstance(document, dict) else None
    if isinstance(entity, dict):
        return entity
    said = read_error(answer.body)
    raise ErpInDoubt(
        f"{answer.where}: answered {answer.status}, but with {said or excerpt(answer.body)} instead of a document;"
        " it is looked for before anything is repeated",
        code=said.code if said else "",
        details=_details(answer, said),
    )


def changed(answer: Answer, *, waiting_codes: Collection[str] = ()) -> None:
    """SAP says that a change was made; whether it was, its state tells. Raises as `booked` does for what is no yes."""
    if answer.status == 204:
        return
    entity = booked(answer, waiting_codes=waiting_codes)
    for message in (entity, *(value for value in entity.values() if isinstance(value, dict))):
        if message.get("SystemMessageType") in ("E", "A", "X"):  # a no in the answer of a function
            code = f"{plain(message.get('SystemMessageIdentification'))}/{plain(message.get('SystemMessageNumber'))}"
            words = plain(message.get("SystemMessageLongText")) or "no message"
            raise ErpRejected(f"{code}: {words}", code=code, details=_details(answer, None))


def refusal(answer: Answer, *, waiting_codes: Collection[str] = ()) -> ErpError:
    """The error that an answer other than 200 and 201 stands for."""
    said = read_error(answer.body)
    kind, wait = _kind(answer, said, waiting_codes)
    words = str(said) if said else excerpt(answer.body)
    code, details = (said.code if said else ""), _details(answer, said)
    if kind is ErpUnavailable:
        scope = "lane" if answer.status in LANE_WAITS or code in waiting_codes else "target"
        message = f"{answer.where}: not processed ({answer.status}): {words}"
        return ErpUnavailable(message, scope=scope, code=code, details=details, retry_after=wait)
    if kind is ErpRejected:
        return ErpRejected(words, code=code or f"HTTP/{answer.status}", details=details)
    return kind(f"{answer.where}: outcome unknown ({answer.status}): {words}", code=code, details=details)


def _kind(answer: Answer, said: SapError | None, waiting_codes: Collection[str]) -> tuple[type[ErpError], float | None]:
    status = answer.status
    if said and (said.code == ALREADY_PROCESSED or any(line.startswith(ALREADY_PROCESSED) for line in said.details)):
        return AlreadyPosted, None
    wait = retry_after(answer.headers)
    if status in LANE_WAITS or status == 429 or (status == 503 and wait is not None):
        return ErpUnavailable, wait
    if status < 400 or status == 408 or status >= 500:
        return ErpInDoubt, None
    if said and said.code in waiting_codes:
        return ErpUnavailable, wait
    if said:
        return ErpRejected, None
    return (ErpUnavailable if status in NOT_THERE else ErpInDoubt), wait


def _details(answer: Answer, said: SapError | None) -> dict[str, str]:
    found = {"status": str(answer.status)}
    if said:
        found |= {"transactionid": said.transactionid, "timestamp": said.timestamp, "details": "; ".join(said.details)}
    return {name: value for name, value in found.items() if value}


def success_details(answer: Answer, at: datetime) -> dict[str, str]:
    """What is kept of a yes: status, when, the repeatability result, and SAP's warnings."""
    found = {"status": str(answer.status), "answered_at": at.isoformat()}
    for header, name in (
        ("repeatabilityresult", "repeatability"),
        ("sap-message", "sap_message"),
        ("sap-transactionid", "transactionid"),
        ("location", "location"),
    ):
        if value := answer.headers.get(header):
            found[name] = value[:2000]
    return found


def warnings(answer: Answer) -> tuple[str, ...]:
    """What SAP said beside its yes, from the ``sap-message`` header (JSON; XML is kept in the details only)."""
    said = answer.headers.get("sap-message")
    message = _json(said.encode()) if said else None
    if not isinstance(message, dict):
        return ()
    details = message.get("details")
    lines = [message, *(details if isinstance(details, list) else [])]
    return tuple(
        plain(f"SAP {line.get('severity', 'message')} {line.get('code', '')}: {line.get('message', '')}")[:500]
        for line in lines
        if isinstance(line, dict) and line.get("severity") in ("warning", "error")
    )


def rows(answer: Answer) -> tuple[list[dict[str, Any]], str]:
    """The entities of a collection and the link to its next page (empty: the last). Raises ErpUnavailable."""
    document = _json(answer.body)
    content = document.get("d") if answer.status == 200 and isinstance(document, dict) else None
    results = content.get("results") if isinstance(content, dict) else content
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        said = read_error(answer.body)
        raise ErpUnavailable(
            f"{answer.where}: answered {answer.status} with {said or excerpt(answer.body)} instead of a list",
            details=_details(answer, said),
            retry_after=retry_after(answer.headers),
        )
    return results, str(content.get("__next") or "") if isinstance(content, dict) else ""


def entity(answer: Answer) -> Mapping[str, Any]:
    """The single entity of an answer to a read. Raises ErpUnavailable."""
    document = _json(answer.body) if answer.status == 200 else None
    row = document.get("d") if isinstance(document, dict) else None
    if not isinstance(row, dict):
        raise unavailable(answer, "answered without the entity that was asked for")
    return row


def _json(text: bytes) -> Any:
    """The document, its numbers exact; None where it is not one."""
    try:
        return _EXACT.decode(text.decode(json.detect_encoding(text), "surrogatepass"))  # as json.loads does
    except (ValueError, RecursionError):
        return None
