"""Who is at the console: logged in with a password, known by a cookie, and every act shown to come from our own page.

A request counts as the user's only when it carries both the cookie, which no script can read, and the page's own secret
in a header, which no other site can send (the synchronizer token of OWASP's CSRF cheat sheet). Sessions live in memory:
a restart logs everybody out. All runs in the event loop but the work on a password, which has a few threads of its own:
whoever floods the door takes neither the memory nor the threads of anybody else.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from http.cookies import CookieError, SimpleCookie
from typing import Final

from agent.access.callers import Identity
from agent.access.passwords import matches
from agent.access.throttle import Throttle
from agent.access.users import User
from agent.web.answers import Refused

HEADER: Final = b"x-gatepost-console"
PROOF: Final = b"x-gatepost-proof"
PROOF_S: Final = 60.0  # from the password to the act
IDLE_S: Final = 15 * 60.0  # without a request: somebody has left the desk
LONGEST_S: Final = 12 * 3600.0  # a shift
MOST: Final = 200  # sessions at a time
MOST_OF_ONE: Final = 20
AT_ONCE: Final = 2  # passwords that are worked on, 19 MiB each
WAITING: Final = 3  # passwords of one address that are worked on or wait for it

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(slots=True)
class Session:
    """One login of one person."""

    user: str
    password: str  # its hash at the login: who gets another one is out
    page: str  # the secret of the page
    since: float  # monotonic
    seen: float
    id: str = field(default_factory=lambda: secrets.token_hex(4))  # for the audit trail; opens nothing
    proof: Proof | None = None  # for the next act


@dataclass(frozen=True, slots=True)
class Proof:
    """The password was given once more, for one act."""

    digest: str  # SHA-256 of what the page sends with it
    path: str  # the act
    until: float  # monotonic


class Sessions:
    """Everybody who is logged in. `users` is asked each time, so that a change counts at once; `cookie` is a name."""

    def __init__(
        self, users: Callable[[], Sequence[User]], cookie: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.cookie = cookie  # its name
        self._users = users
        self._monotonic = monotonic
        self._sessions: dict[str, Session] = {}  # SHA-256 of the cookie → session
        self._throttle = Throttle("console logins", monotonic)
        self._waiting: Counter[str] = Counter()  # address → passwords under way
        self._workers = ThreadPoolExecutor(AT_ONCE, "password")

    async def log_in(self, name: str, password: str, address: str) -> tuple[str, Session, User]:
        """Cookie, session and user. Raises Refused: 401, 429."""
        user = await self.proven(name, password, address)
        self._forget_old()
        own = [key for key, one in self._sessions.items() if one.user == user.name]
        if len(own) >= MOST_OF_ONE:
            del self._sessions[own[0]]
        if len(self._sessions) >= MOST:
            raise Refused(429, "too_many_sessions", f"{MOST} people are logged in; close a session first")
        cookie, now = secrets.token_urlsafe(32), self._monotonic()
        session = Session(user.name, user.password, secrets.token_urlsafe(32), now, now)
        self._sessions[_digest(cookie)] = session
        return cookie, session, user

    async def proven(self, name: str, password: str, address: str) -> User:
        """The user whose password this is, at login and at each signature. Raises Refused: 401, 429."""
        if self._throttle.shuts_out(address):
            raise Refused(429, "too_many_tries", "too many wrong passwords; wait a minute", retry_after=60.0)
        if self._waiting[address] >= WAITING:
            raise Refused(429, "too_many_at_once", "too many passwords at once; wait a moment", retry_after=1.0)
        user = self.user(name)
        known = user.password if user else None
        self._waiting[address] += 1
        work = asyncio.get_running_loop().run_in_executor(self._workers, matches, password, known)
        work.add_done_callback(lambda _: self._worked(address))
        if not await asyncio.shield(work) or user is None:  # who hangs up does not make room for the next
            self._throttle.refused(address)
            raise Refused(401, "wrong_password", "user and password do not belong together")
        return user

    def _worked(self, address: str) -> None:
        self._waiting[address] -= 1
        self._waiting += Counter()  # who has none is forgotten

    def user(self, name: str) -> User | None:
        """Who is called so now."""
        return next((one for one in self._users() if one.name == name), None)

    def whose(self, session: Session) -> User | None:
        """Whose session it is; None once they are out of the file, or have another password."""
        user = self.user(session.user)
        return user if user and user.password == session.password else None

    @property
    def anybody(self) -> bool:
        """Whether there is anybody who could log in."""
        return bool(self._users())

    def of(self, headers: Headers) -> Session | None:
        """The session of the cookie alone: enough to load the page again, not to ask or do anything."""
        self._forget_old()
        return self._sessions.get(_digest(_value(headers, self.cookie)))

    def identify(self, headers: Headers) -> Identity | None:
        """Who asks, with cookie and page's secret; the session goes on from now."""
        headers = list(headers)
        given = [value for name, value in headers if name == HEADER]
        session = self.of(headers)
        if session is None or len(given) != 1 or not hmac.compare_digest(given[0], session.page.encode()):
            return None
        user = self.whose(session)
        if user is None:
            return None
        session.seen = self._monotonic()
        door = f"console session {session.id}"
        return Identity(
            user.name, frozenset(user.scopes), frozenset(user.lines), roles=frozenset(user.roles), door=door
        )

    def prove(self, session: Session, path: str) -> str:
        """What lets this session act once, at this path: its password has been checked just now."""
        given = secrets.token_urlsafe(32)
        session.proof = Proof(_digest(given), path, self._monotonic() + PROOF_S)
        return given

    def require_proof(self, headers: Headers, path: str) -> None:
        """Take the proof that comes with an act. Raises Refused (403) where there is none that is good for it."""
        headers = list(headers)
        session, given = self.of(headers), [value for name, value in headers if name == PROOF]
        proof = session.proof if session else None
        if session is not None and given:
            session.proof = None  # good once, and nobody tries a second time
        if (
            proof is None
            or len(given) != 1
            or proof.path != path
            or proof.until < self._monotonic()
            or (not hmac.compare_digest(proof.digest, _digest(given[0].decode("latin-1"))))
        ):
            message = "at the console every act is signed: with the password, once more, on its page"
            raise Refused(403, "signature_needed", message)

    def log_out(self, headers: Headers) -> None:
        """End the session of this cookie, if there is one."""
        self._sessions.pop(_digest(_value(headers, self.cookie)), None)

    def _forget_old(self) -> None:
        now = self._monotonic()
        old = [key for key, one in self._sessions.items() if now - one.seen > IDLE_S or now - one.since > LONGEST_S]
        for key in old:
            del self._sessions[key]


def cookie_of(address: str) -> str:
    """The cookie's name at this address: browsers keep one jar for all ports of a machine, where two agents may be."""
    return f"gatepost_console_{address.rpartition(':')[2]}"


def _digest(cookie: str) -> str:
    return sha256(cookie.encode()).hexdigest()


def _value(headers: Headers, cookie: str) -> str:
    """Our cookie among all; empty where there is none, or where it is not readable."""
    for name, value in headers:
        if name == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(cookie)
            except CookieError:
                continue
            if found is not None:
                return found.value
    return ""
