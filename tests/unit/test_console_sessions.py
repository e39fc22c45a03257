"""Sessions of the console: who counts as logged in, and until when."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from pydantic import ValidationError

from agent.access.passwords import hashed
from agent.access.throttle import MOST_REFUSED
from agent.access.tokens import Scope
from agent.access.users import User
from agent.web.answers import Refused
from agent.web.console.sessions import AT_ONCE, IDLE_S, LONGEST_S, MOST_OF_ONE, PROOF_S, WAITING, Sessions, cookie_of
from agent.web.console.site import Signing

PASSWORD = "correct horse battery"
COOKIE = cookie_of("127.0.0.1:18080")
ANNA = User(name="anna", full_name="Anna Berg", password=hashed(PASSWORD), scopes=(Scope.READ,), lines=("mixing",))


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def headers(cookie: str, page: str = "") -> list[tuple[bytes, bytes]]:
    found = [(b"cookie", f"other=1; {COOKIE}={cookie}".encode())]
    return [*found, (b"x-gatepost-console", page.encode())] if page else found


async def test_cookie_and_page_secret_together_are_the_user_with_their_rights():
    """Whoever sends both is the user, with scopes and lines of the file."""
    sessions = Sessions(lambda: [ANNA], COOKIE)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    found = sessions.identify(headers(cookie, session.page))
    assert found is not None
    assert (found.name, found.scopes, found.lines) == ("anna", frozenset({Scope.READ}), frozenset({"mixing"}))
    assert found.session == f"console session {session.id}"


async def test_the_cookie_alone_asks_and_does_nothing():
    """What a browser sends by itself, also for a foreign page, is not enough."""
    sessions = Sessions(lambda: [ANNA], COOKIE)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    assert sessions.identify(headers(cookie)) is None
    assert sessions.identify(headers(cookie, "guessed")) is None
    assert sessions.identify(headers("guessed", session.page)) is None
    assert sessions.identify([*headers(cookie, session.page), (b"x-gatepost-console", b"second")]) is None


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong horse battery"), ("nobody", PASSWORD), ("anna", "")])
async def test_a_wrong_name_and_a_wrong_password_are_refused_alike(name, password):
    """The answer does not tell which of the two was wrong."""
    with pytest.raises(Refused) as refused:
        await Sessions(lambda: [ANNA], COOKIE).log_in(name, password, "10.0.0.1")
    assert (refused.value.status, str(refused.value)) == (401, "user and password do not belong together")


async def test_an_address_that_guesses_is_shut_out_and_others_are_not():
    """After so many wrong passwords not even the right one counts from there for a while."""
    time = Time()
    sessions = Sessions(lambda: [ANNA], COOKIE, time)
    for _ in range(MOST_REFUSED):
        with pytest.raises(Refused):
            await sessions.proven("nobody", "x", "10.0.0.66")
    with pytest.raises(Refused) as refused:
        await sessions.log_in("anna", PASSWORD, "10.0.0.66")
    assert refused.value.status == 429
    await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    time.now += 61
    await sessions.log_in("anna", PASSWORD, "10.0.0.66")


async def test_a_session_ends_when_nobody_is_there_and_after_a_shift():
    """A quarter of an hour without a request, or twelve hours in all."""
    time = Time()
    sessions = Sessions(lambda: [ANNA], COOKIE, time)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    for _ in range(int(LONGEST_S // (IDLE_S - 1))):
        time.now += IDLE_S - 1
        assert sessions.identify(headers(cookie, session.page)) is not None
    time.now += IDLE_S - 1  # now it is longer than a shift
    assert sessions.identify(headers(cookie, session.page)) is None
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    time.now += IDLE_S + 1
    assert sessions.identify(headers(cookie, session.page)) is None


async def test_who_is_taken_out_of_the_file_is_out_with_the_next_request():
    """Rights are those of the file now, not those of the login."""
    users = [ANNA]
    sessions = Sessions(lambda: users, COOKIE)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    users[:] = [ANNA.model_copy(update={"scopes": (Scope.READ, Scope.APPROVE)})]
    found = sessions.identify(headers(cookie, session.page))
    assert found is not None
    assert found.may(Scope.APPROVE)
    users.clear()
    assert sessions.identify(headers(cookie, session.page)) is None


async def test_logging_out_ends_the_session_at_the_agent():
    """The cookie of a closed session opens nothing."""
    sessions = Sessions(lambda: [ANNA], COOKIE)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    sessions.log_out(headers(cookie))
    assert sessions.identify(headers(cookie, session.page)) is None


async def test_one_person_has_a_bounded_number_of_sessions():
    """The oldest goes where one person logs in again and again."""
    sessions = Sessions(lambda: [ANNA], COOKIE)
    first, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    for _ in range(MOST_OF_ONE):
        await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    assert sessions.identify(headers(first, session.page)) is None


@pytest.mark.parametrize(
    "cookie", [b"", b"=", b"gatepost_console", b'gatepost_console="\xff', b"a=b; ;;;", b"\x00" * 50]
)
async def test_a_broken_cookie_is_nobody(cookie):
    """Whatever a client sends as a cookie, it is at most unknown."""
    sessions = Sessions(lambda: [ANNA], COOKIE)
    assert sessions.of([(b"cookie", cookie)]) is None


async def test_who_gets_another_password_is_out_with_the_next_request():
    """Whoever stole a session loses it when its user's password is changed."""
    users = [ANNA]
    sessions = Sessions(lambda: users, COOKIE)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    users[:] = [ANNA.model_copy(update={"password": hashed("another horse battery")})]
    assert sessions.identify(headers(cookie, session.page)) is None
    assert sessions.whose(session) is None


async def test_an_address_that_floods_the_door_takes_no_more_than_its_part(monkeypatch: pytest.MonkeyPatch):
    """Of a hundred logins at once few are worked on, the rest is told to come again; at another desk one comes in."""
    working, most, let_go = 0, 0, threading.Event()

    def slowly(password: str, phc: str | None) -> bool:
        nonlocal working, most
        working += 1
        most = max(most, working)
        let_go.wait(10)
        working -= 1
        return password == PASSWORD and phc is not None

    monkeypatch.setattr("agent.web.console.sessions.matches", slowly)
    sessions = Sessions(lambda: [ANNA], COOKIE)
    flood = [asyncio.create_task(sessions.proven("anna", "guess", "10.0.0.66")) for _ in range(100)]
    anna = asyncio.create_task(sessions.log_in("anna", PASSWORD, "10.0.0.1"))
    await asyncio.wait(flood[WAITING:], timeout=10)
    assert all(isinstance(one.exception(), Refused) for one in flood[WAITING:])
    let_go.set()
    assert (await anna)[2] == ANNA
    codes = Counter(getattr(one, "code", "") for one in await asyncio.gather(*flood, return_exceptions=True))
    assert codes == {"wrong_password": WAITING, "too_many_at_once": 100 - WAITING}
    assert most <= AT_ONCE


@pytest.mark.parametrize("text", ["x" * 129, "burr\x1b[2J", "burr\u202e"])
def test_what_is_signed_at_the_console_is_plain_text(text):
    """A correction's words are as short and readable as a gateway's: what is shown is what is meant."""
    body = {"id": 1, "version": 1, "decision": "correct", "shown_sha256": "0" * 64, "reason": "typed wrong"}
    Signing.model_validate({**body, "password": PASSWORD, "changes": {"scrap_reason": "burr"}})
    with pytest.raises(ValidationError):
        Signing.model_validate({**body, "password": PASSWORD, "changes": {"scrap_reason": text}})


async def test_two_agents_on_one_machine_do_not_share_a_login():
    """Browsers send one machine's cookies to all its ports: each port has a name of its own."""
    assert cookie_of("127.0.0.1:18080") == "gatepost_console_18080"
    one, other = Sessions(lambda: [ANNA], COOKIE), Sessions(lambda: [ANNA], cookie_of("[::1]:18081"))
    cookie, session, _ = await one.log_in("anna", PASSWORD, "10.0.0.1")
    second, own, _ = await other.log_in("anna", PASSWORD, "10.0.0.1")
    jar = (b"cookie", f"{one.cookie}={cookie}; {other.cookie}={second}".encode())
    assert one.identify([jar, (b"x-gatepost-console", session.page.encode())]) is not None
    assert other.identify([jar, (b"x-gatepost-console", own.page.encode())]) is not None


async def test_a_proof_is_good_for_a_minute_once_and_for_its_act():
    """The password proves that somebody is there now, for what they want to do now, in their own session."""
    time = Time()
    sessions = Sessions(lambda: [ANNA], COOKIE, time)
    cookie, session, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")
    other, another, _ = await sessions.log_in("anna", PASSWORD, "10.0.0.1")

    def proves(given: str, path: str = "/v1/pause", of: str = cookie) -> bool:
        try:
            sessions.require_proof([*headers(of), (b"x-gatepost-proof", given.encode())], path)
        except Refused as refused:
            return refused.code != "signature_needed"
        return True

    given = sessions.prove(session, "/v1/pause")
    assert not proves(given, of=other)
    assert proves(given)
    assert not proves(given)
    assert not proves(sessions.prove(session, "/v1/pause"), "/v1/resume")
    given = sessions.prove(session, "/v1/pause")
    time.now += PROOF_S + 1
    assert not proves(given)
    given = sessions.prove(session, "/v1/pause")
    assert not proves("guessed")
    assert not proves(given), "who guesses has used it up"
    assert another.proof is None
