"""The strict reader: what it accepts, and that it names what it refuses."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from agent.errors import BadPayload
from agent.strict import strictjson


def test_numbers_keep_their_digits():
    """A number with a point is a Decimal with every digit it was sent with; one without is an int."""
    value = strictjson.read(b'{"a": 12.500, "b": 7, "c": 1e3, "d": -9223372036854775808}')

    assert str(value["a"]) == "12.500"
    assert value == {"a": Decimal("12.5"), "b": 7, "c": Decimal(1000), "d": -(2**63)}
    assert type(value["b"]) is int


def test_blanks_around_the_object_are_allowed():
    """White space before and after the object changes nothing."""
    assert strictjson.read(b' \r\n\t{"a": []}\n ') == {"a": []}


def test_surrogate_pairs_are_one_character():
    """An escaped pair of surrogates is the character that it stands for."""
    assert strictjson.read(rb'{"a": "\ud83d\ude00 \u00e4"}') == {"a": "😀 ä"}


def test_an_escaped_backslash_before_u_is_text():
    """A backslash followed by the letters of an escape is text, not an escape."""
    assert strictjson.read(rb'{"a": "\\ud800"}') == {"a": "\\ud800"}


@pytest.mark.parametrize("levels", [1, 31])
def test_nesting_up_to_the_limit_is_read(levels: int):
    """32 levels are read, the outermost object counted."""
    payload = b'{"a":' + b"[" * levels + b"]" * levels + b"}"

    assert strictjson.read(payload) == json.loads(payload)


def test_many_brackets_that_are_not_deep_are_read():
    """Only depth is limited, not the number of lists."""
    payload = b'{"a":[' + b",".join([b"[]"] * 1000) + b"]}"

    assert len(strictjson.read(payload)["a"]) == 1000


def test_a_key_may_return_in_another_object():
    """Only within one object does a key have to be unique."""
    assert strictjson.read(b'{"a": {"x": 1}, "b": {"x": 2}}') == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("payload", "reason", "words"),
    [
        (b"", "empty", "empty"),
        (b" \n", "empty", "empty"),
        (b"{", "not_json", "character"),
        (b'{"a":1}}', "not_json", "after the end"),
        (b'{"a":1} {"a":2}', "not_json", "after the end"),
        (b'{"a":01}', "not_json", "character"),
        (b"{'a':1}", "not_json", "character"),
        (b'{"a":"tab\there"}', "not_json", "control character"),
        (b"[]", "not_an_object", "object"),
        (b"5", "not_an_object", "'5'"),
        (b"null", "not_an_object", "object"),
        (b'\xef\xbb\xbf{"a":1}', "not_utf8", "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "not_utf8", "UTF-16"),
        ('{"a":1}'.encode("utf-16-le"), "not_json", "character 1"),
        (b'{"a":"\xff"}', "not_utf8", "0xff at 6"),
        (b'{"a":"\xed\xa0\x80"}', "not_utf8", "0xed at 6"),
        (b'{"a":NaN}', "number_range", "NaN"),
        (b'{"a":-Infinity}', "number_range", "-Infinity"),
        (b'{"a":1e400}', "number_range", "1e400"),
        (b'{"a":1e-31}', "number_range", "1e-31"),
        (b'{"a":0e-999999999}', "number_range", "0e-999999999"),
        (b'{"a":1e1000000000000000000000}', "number_range", "exponent"),
        (b'{"a":0.' + b"1" * 41 + b"}", "number_range", "40 digits"),
        (b'{"a":9223372036854775808}', "number_range", "64 bit"),
        (b'{"a":-9223372036854775809}', "number_range", "64 bit"),
        (b'{"a":' + b"9" * 10000 + b"}", "number_range", "64 bit"),
        (b'{"a":1,"b":2,"a":1}', "duplicate_key", "a: "),
        (rb'{"a":1,"\u0061":2}', "duplicate_key", "a: "),
        (rb'{"\ud800":1,"\ud800":2}', "duplicate_key", "ud800"),
        (rb'{"a":["x", "\ud800"]}', "bad_text", "$.a[1]"),
        (rb'{"a":{"b":"\udc00\ud800"}}', "bad_text", "$.a.b"),
        (rb'{"\ud800":1}', "bad_text", "$: "),
        (rb'{"a":"x\u0000"}', "bad_text", "NUL"),
        (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "too_deep", "32 levels"),
        (b'{"a":' * 40_000, "too_deep", "32 levels"),
        (b'{"a":' + b"[" * 100_000, "too_deep", "32 levels"),
    ],
)
def test_refusals_name_their_reason(payload: bytes, reason: str, words: str):
    """Each refusal has a code for counting and words that say what stood where."""
    with pytest.raises(BadPayload) as refusal:
        strictjson.read(payload)

    assert refusal.value.reason == reason
    assert words in str(refusal.value)
    assert str(refusal.value).encode()  # the reason itself can be stored and shown


def test_hostile_messages_are_refused_as_quickly_as_others_are_read():
    """The largest message of the worst kind costs what its size costs, not the square of it."""
    many_keys = ",".join(f'"{number}":0' for number in range(25_000))
    many_digits = "1." + "7" * 260_000

    for body in (many_keys + ',"24999":1', f'"a":{many_digits}', '"a":' + "9" * 260_000):
        with pytest.raises(BadPayload):
            strictjson.read(f"{{{body}}}".encode(), size_limit=300_000)


def test_the_size_limit_is_exact():
    """A message of just the limit is read, one byte more is refused."""
    payload = b'{"a":"' + b"x" * 92 + b'"}'

    assert strictjson.read(payload, size_limit=100)
    with pytest.raises(BadPayload, match="100 bytes is larger than the limit of 99"):
        strictjson.read(payload, size_limit=99)
