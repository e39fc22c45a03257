"""SAP's error bodies in every shape, foreign exceptions, and what each status means for a posting."""

import pytest

from agent.errors import ErpError, ErpInDoubt, ErpRejected, ErpUnavailable
from agent.sap.channel import NoAnswer, NotSent
from agent.sap.errors import excerpt, read_error, retry_after, without_answer
from agent.sap.session import Answer
from agent.sap.verdict import AlreadyPosted, booked, refusal, rows, warnings

V2 = b"""{"error":{"code":"M7/021","message":{"lang":"en","value":"Deficit of SL 1 KG"},"innererror":{
"transactionid":"ABC","timestamp":"20201027150920.7447650","errordetails":[
{"code":"M7/021","message":"Deficit of SL 1 KG","severity":"error"},
{"code":"M7/054","message":"Check entry","severity":"warning"}]}}}"""
V2_ARRAY = b'{"error":{"code":"RU/003","message":[{"lang":"en","value":"One"},{"lang":"de","value":"Eins"}]}}'
V4 = b'{"error":{"code":"M7/502","message":"Base date","target":"D","details":[{"code":"M7/505","message":"More"}]}}'
XML = b"""<?xml version="1.0"?><error xmlns="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata">
<code>M7/021</code><message xml:lang="en">Deficit</message><innererror><transactionid>ABC</transactionid>
<timestamp>2026</timestamp><errordetails><errordetail><code>X/1</code><message>inner</message></errordetail>
</errordetails></innererror></error>"""
BOMB = b'<!DOCTYPE e [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><error><code>&b;</code><message>x</message></error>'
XXE = b'<!DOCTYPE e [<!ENTITY a SYSTEM "file:///etc/passwd">]><error><code>1</code><message>&a;</message></error>'
LOGIN = b"<!DOCTYPE html><html><head><script>x()</script></head><body>Please <b>log on</b></body></html>"
OUTDATED = b'{"error":{"code":"/IWBEP/CM_COS/005","message":{"value":"RequestID is outdated"}}}'
OUTDATED_BLANK = b'{"error":{"code":"/IWBEP/CM_COS 005","message":{"value":"RequestID is outdated"}}}'


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (V2, "M7/021", "M7/021: Deficit of SL 1 KG; M7/054: Check entry"),
        (V2_ARRAY, "RU/003", "RU/003: One; Eins"),
        (V4, "M7/502", "M7/502: Base date; M7/505: More"),
        (XML, "M7/021", "M7/021: Deficit; X/1: inner"),
        (b'[{"error":{"code":"A/1","message":"wrapped"}}]', "A/1", "A/1: wrapped"),
        (b'{"error":{"code":null,"message":null,"innererror":"x"}}', "", "no message"),
    ],
)
def test_error_bodies_of_every_shape_give_code_and_words(body: bytes, code: str, words: str):
    """Code and words are found in V2, array, V4 and XML bodies."""
    error = read_error(body)
    assert error is not None
    assert (error.code, str(error)) == (code, words)


@pytest.mark.parametrize("body", [V2, XML])
def test_transaction_id_is_kept(body: bytes):
    """The transaction id that a Basis administrator needs is read from JSON and XML."""
    error = read_error(body)
    assert error is not None
    assert error.transactionid == "ABC"
    assert error.timestamp


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b"{}", b'{"error":1}', LOGIN, BOMB, XXE, b"<error", b"\xff\xfe", b"[" * 100_000, b"x"],
)
def test_what_is_no_sap_error_is_none(body: bytes):
    """HTML, cut JSON, entity bombs and nonsense are no SAP error, and harm nobody."""
    assert read_error(body) is None


def test_excerpt_of_a_login_page_is_its_text():
    """A person sees the words of a page, without its tags and scripts."""
    assert excerpt(LOGIN) == "Please log on"
    assert excerpt(b"") == "empty body"
    assert excerpt(b"a\x1b[31mb\r\nc") == "a [31mb c"


@pytest.mark.parametrize(
    ("error", "expected"),
    [(NotSent("refused"), ErpUnavailable), (NoAnswer("reset"), ErpInDoubt), (TimeoutError(), ErpInDoubt)],
    ids=repr,
)
def test_a_call_without_an_answer_means_nothing_sent_or_doubt(
    error: NotSent | NoAnswer | TimeoutError, expected: type[ErpError]
):
    """Before the first byte it is unavailable, after it a doubt; a read is never a doubt."""
    assert type(without_answer(error, "POST /x", reading=False)) is expected
    assert type(without_answer(error, "GET /x", reading=True)) is ErpUnavailable


def answer(status: int, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, body, "/sap/X")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer(200, LOGIN), ErpInDoubt),
        (answer(200, b'{"error":{"code":"RU/1","message":"no"}}'), ErpInDoubt),
        (answer(201), ErpInDoubt),
        (answer(201, b'{"d":{"MaterialDocument":"49'), ErpInDoubt),
        (answer(201, b'{"d":[]}'), ErpInDoubt),
        (answer(201, b"[" * 100_000), ErpInDoubt),
        (answer(202, V2), ErpInDoubt),
        (answer(204), ErpInDoubt),
        (answer(302, b"", location="https://elsewhere"), ErpInDoubt),
        (answer(400, V2), ErpRejected),
        (answer(400, XML), ErpRejected),
        (answer(400, V4), ErpRejected),
        (answer(400, LOGIN), ErpInDoubt),
        (answer(404, V2), ErpRejected),
        (answer(404, LOGIN), ErpUnavailable),
        (answer(405), ErpUnavailable),
        (answer(408), ErpInDoubt),
        (answer(408, V2), ErpInDoubt),
        (answer(409, V2), ErpUnavailable),
        (answer(412, V2), ErpRejected),
        (answer(423, V2), ErpUnavailable),
        (answer(425), ErpUnavailable),
        (answer(429), ErpUnavailable),
        (answer(500, V2), ErpInDoubt),
        (answer(502, LOGIN), ErpInDoubt),
        (answer(503), ErpInDoubt),
        (answer(503, b"", retry_after="5"), ErpUnavailable),
        (answer(504), ErpInDoubt),
        (answer(599), ErpInDoubt),
        (answer(400, OUTDATED), AlreadyPosted),
        (answer(500, OUTDATED_BLANK), AlreadyPosted),
    ],
    ids=lambda value: f"{value.status}-{value.body[:12]!r}" if isinstance(value, Answer) else value.__name__,
)
def test_every_answer_has_one_meaning(given: Answer, expected: type[ErpError]):
    """What is ambiguous is a doubt, what SAP refuses is a refusal, what was not processed is unavailable."""
    with pytest.raises(ErpError) as raised:
        booked(given)
    assert raised.type is expected


def test_a_lane_waits_where_one_object_is_locked():
    """423 and configured codes hold one lane; 429 holds the target."""
    locked, busy = refusal(answer(423, V2)), refusal(answer(429))
    coded = refusal(answer(400, b'{"error":{"code":"M3/897","message":"locked by X"}}'), waiting_codes=("M3/897",))
    assert [getattr(error, "scope", "") for error in (locked, busy, coded)] == ["lane", "target", "lane"]


def test_a_refusal_carries_saps_words_code_and_transaction():
    """The dead letter shows what SAP said and where to look it up."""
    error = refusal(answer(400, V2))
    assert (error.code, error.details["transactionid"], error.details["status"]) == ("M7/021", "ABC", "400")
    assert str(error).startswith("M7/021: Deficit of SL 1 KG")


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("-1", 1.0),
        ("86400", 3600.0),
        ("9" * 400, 3600.0),
        ("x", 30.0),
        ("", 30.0),
        ("NaN", 30.0),
        ("Fri, 20 Nov 2026 14:01:00 GMT", 60.0),
        ("Fri, 20 Nov 1926 14:01:00 GMT", 1.0),
    ],
)
def test_retry_after_is_between_a_second_and_an_hour(asked: str, seconds: float):
    """Whatever Retry-After says, the wait is sane."""
    assert retry_after({"retry-after": asked, "date": "Fri, 20 Nov 2026 14:00:00 GMT"}) == seconds
    assert retry_after({}) is None


def test_warnings_of_a_success_are_read_from_sap_message():
    """Warnings and errors of sap-message are shown; information is not; XML harms nobody."""
    text = (
        '{"code":"A/1","message":"low","severity":"warning","details":[{"code":"B/2","message":"i","severity":"info"}]}'
    )
    assert warnings(answer(201, b"", sap_message=text)) == ("SAP warning A/1: low",)
    assert warnings(answer(201, b"", sap_message="<n/>")) == ()


@pytest.mark.parametrize("body", [LOGIN, b"", b'{"d":1}', b'{"d":{"results":[1]}}', b'{"d":{"results":null}}'])
def test_a_read_that_brings_no_list_is_unavailable(body: bytes):
    """A lookup never concludes «not booked» from something that is no list."""
    with pytest.raises(ErpUnavailable):
        rows(answer(200, body))
