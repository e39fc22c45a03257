"""Sessions of the console: who counts as logged in, and until when."""

from __future__ import annotations

import pytest

from agent.passwords import hashed
from agent.settings import Scope
from agent.throttle import MOST_REFUSED
from agent.users import User
from agent.web.answers import Refused
from agent.web.console.sessions import COOKIE, IDLE_S, LONGEST_S, MOST_OF_ONE, Sessions

PASSWORD = "correct horse battery"
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


def test_cookie_and_page_secret_together_are_the_user_with_their_rights():
    """Whoever sends both is the user, with scopes and lines of the file."""
    sessions = Sessions(lambda: [ANNA])
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    found = sessions.identify(headers(cookie, session.page))
    assert found is not None
    assert (found.name, found.scopes, found.lines) == ("anna", frozenset({Scope.READ}), frozenset({"mixing"}))
    assert found.session == f"console session {session.id}"


def test_the_cookie_alone_asks_and_does_nothing():
    """What a browser sends by itself, also for a foreign page, is not enough."""
    sessions = Sessions(lambda: [ANNA])
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    assert sessions.identify(headers(cookie)) is None
    assert sessions.identify(headers(cookie, "guessed")) is None
    assert sessions.identify(headers("guessed", session.page)) is None
    assert sessions.identify([*headers(cookie, session.page), (b"x-gatepost-console", b"second")]) is None


@pytest.mark.parametrize(("name", "password"), [("anna", "wrong horse battery"), ("nobody", PASSWORD), ("anna", "")])
def test_a_wrong_name_and_a_wrong_password_are_refused_alike(name, password):
    """The answer does not tell which of the two was wrong."""
    with pytest.raises(Refused) as refused:
        Sessions(lambda: [ANNA]).log_in(name, password, "10.0.0.1")
    assert (refused.value.status, str(refused.value)) == (401, "user and password do not belong together")


def test_an_address_that_guesses_is_shut_out_and_others_are_not():
    """After so many wrong passwords not even the right one counts from there for a while."""
    time = Time()
    sessions = Sessions(lambda: [ANNA], time)
    for _ in range(MOST_REFUSED):
        with pytest.raises(Refused):
            sessions.proven("nobody", "x", "10.0.0.66")
    with pytest.raises(Refused) as refused:
        sessions.log_in("anna", PASSWORD, "10.0.0.66")
    assert refused.value.status == 429
    sessions.log_in("anna", PASSWORD, "10.0.0.1")
    time.now += 61
    sessions.log_in("anna", PASSWORD, "10.0.0.66")


def test_a_session_ends_when_nobody_is_there_and_after_a_shift():
    """A quarter of an hour without a request, or twelve hours in all."""
    time = Time()
    sessions = Sessions(lambda: [ANNA], time)
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    for _ in range(int(LONGEST_S // (IDLE_S - 1))):
        time.now += IDLE_S - 1
        assert sessions.identify(headers(cookie, session.page)) is not None
    time.now += IDLE_S - 1  # now it is longer than a shift
    assert sessions.identify(headers(cookie, session.page)) is None
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    time.now += IDLE_S + 1
    assert sessions.identify(headers(cookie, session.page)) is None


def test_who_is_taken_out_of_the_file_is_out_with_the_next_request():
    """Rights are those of the file now, not those of the login."""
    users = [ANNA]
    sessions = Sessions(lambda: users)
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    users[:] = [ANNA.model_copy(update={"scopes": (Scope.READ, Scope.APPROVE)})]
    found = sessions.identify(headers(cookie, session.page))
    assert found is not None
    assert found.may(Scope.APPROVE)
    users.clear()
    assert sessions.identify(headers(cookie, session.page)) is None


def test_logging_out_ends_the_session_at_the_agent():
    """The cookie of a closed session opens nothing."""
    sessions = Sessions(lambda: [ANNA])
    cookie, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    sessions.log_out(headers(cookie))
    assert sessions.identify(headers(cookie, session.page)) is None


def test_one_person_has_a_bounded_number_of_sessions():
    """The oldest goes where one person logs in again and again."""
    sessions = Sessions(lambda: [ANNA])
    first, session, _ = sessions.log_in("anna", PASSWORD, "10.0.0.1")
    for _ in range(MOST_OF_ONE):
        sessions.log_in("anna", PASSWORD, "10.0.0.1")
    assert sessions.identify(headers(first, session.page)) is None


@pytest.mark.parametrize(
    "cookie", [b"", b"=", b"gatepost_console", b'gatepost_console="\xff', b"a=b; ;;;", b"\x00" * 50]
)
def test_a_broken_cookie_is_nobody(cookie):
    """Whatever a client sends as a cookie, it is at most unknown."""
    sessions = Sessions(lambda: [ANNA])
    assert sessions.of([(b"cookie", cookie)]) is None
