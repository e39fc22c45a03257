"""The answers of a fault: instead of the work, or in the place of the right answer after it."""

from __future__ import annotations

import json
import re
from datetime import datetime

from simulators.erp.faults import Rule
from simulators.erp.odata import Answer, ODataError, error_answer, json_answer

_LOGIN_PAGE = (
    b"<!DOCTYPE html><html><head><title>Logon</title></head><body><form name='loginForm' method='post'>"
    b"<input name='sap-user'/><input name='sap-password' type='password'/></form></body></html>"
)
_XML_ERROR = (
    '<?xml version="1.0" encoding="utf-8"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">'
    '<code>M7/021</code><message xml:lang="en">Deficit of SL Unrestricted-use 1.000 KG : RM-RESIN 1710 171A</message>'
    "<innererror><transactionid>0A1B2C3D4E5F60718293A4B5C6D7E8F9</transactionid></innererror></error>"
)
_ETAG = re.compile(rb',"etag":"(?:[^"\\]|\\.)*"')
_NUMBERS = {
    "MaterialDocument",
    "ConfirmationGroup",
    "ConfirmationCount",
    "DefectInternalID",
    "PhysicalInventoryDocument",
}
_HUGE = 50_000_000


def instead(rule: Rule, service: str, now: datetime) -> Answer:
    """What a BEFORE fault answers; nothing was booked."""
    match rule.fault:
        case "html":
            return Answer(200, _LOGIN_PAGE, content_type=b"text/html; charset=utf-8")
        case "redirect":
            return Answer(302).add("location", rule.value or "https://elsewhere.example/sap/saml2/sp/acs")
        case "xml_error":
            return Answer(400, (rule.value or _XML_ERROR).encode(), content_type=b"application/xml")
        case "false_yes":
            return Answer(204)
        case "function_error":
            words = {"SystemMessageType": "E", "SystemMessageIdentification": "CO", "SystemMessageNumber": "688"}
            words["SystemMessageLongText"] = rule.value or "Order cannot be released: material availability"
            return json_answer(200, {"d": {"ReleaseOrder": words}})
        case "unauthorized":
            answer = Answer(401, b"<html><body>Logon failed</body></html>", content_type=b"text/html; charset=utf-8")
            return answer.add("www-authenticate", 'Basic realm="SAP NetWeaver Application Server"')
        case "unavailable":
            answer = Answer(503, b"<html><body>Service cannot be reached</body></html>", content_type=b"text/html")
            return answer.add("retry-after", rule.value) if rule.value else answer
        case "too_many":
            answer = error_answer(ODataError(429, "/IWFND/CM_COS/429", "Too many requests"), service, now)
            return answer.add("retry-after", rule.value) if rule.value else answer
    refusals = {
        "forbidden": ODataError(403, "/IWFND/CM_CONSUMER/101", "No authorization to access the service"),
        "locked": ODataError(423, "CO/469", "The object is already being processed by another user"),
        "error_in_200": ODataError(200, "RU/500", "Confirmation could not be saved"),
    }
    return error_answer(refusals[rule.fault], service, now)


def csrf_required() -> Answer:
    """403 with `x-csrf-token: Required`."""
    answer = Answer(403, b"CSRF token validation failed", content_type=b"text/plain; charset=utf-8")
    return answer.add("x-csrf-token", "Required")


def distorted(rule: Rule, answer: Answer, service: str, now: datetime) -> Answer:
    """What an AFTER fault makes of the right answer; the document is booked."""
    match rule.fault:
        case "truncated":
            return Answer(answer.status, answer.body[: len(answer.body) // 2], answer.headers, answer.content_type)
        case "empty_body":
            return Answer(answer.status, b"", answer.headers)
        case "no_document" | "empty_items":
            return _edited(answer, rule.fault)
        case "no_etag":
            headers = [(name, value) for name, value in answer.headers if name != b"etag"]
            return Answer(answer.status, _ETAG.sub(b"", answer.body), headers, answer.content_type)
        case "wrong_type":
            return Answer(answer.status, answer.body, answer.headers, b"text/html; charset=iso-8859-1")
        case "huge":
            padding = b" " * (int(rule.value or _HUGE) - len(answer.body))
            return Answer(answer.status, answer.body + padding, answer.headers, answer.content_type)
        case "message_error":
            words = rule.value or "Confirmation could not be saved"
            text = {"code": "RU/500", "message": words, "severity": "error", "details": []}
            return answer.add("sap-message", json.dumps(text))
        case "error_after_commit":
            return error_answer(ODataError(500, "SY/530", "An exception was raised"), service, now)
        case "bad_gateway":
            return Answer(502, b"<html><body>502 Bad Gateway</body></html>", content_type=b"text/html")
    return answer


def _edited(answer: Answer, fault: str) -> Answer:
    payload = json.loads(answer.body)
    entity = payload.get("d", {})
    for name in list(entity):
        if fault == "empty_items" and name.startswith("to_"):
            entity[name] = {"results": []}
        elif fault == "no_document" and name in _NUMBERS:
            entity[name] = ""
        elif fault == "no_document" and (name == "__metadata" or name.startswith("to_")):
            del entity[name]
    headers = [one for one in answer.headers if one[0] != b"location"]
    return Answer(answer.status, json.dumps(payload).encode(), headers, answer.content_type)
