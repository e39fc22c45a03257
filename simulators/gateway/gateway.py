"""The gateway: users, tags, the script library, timers and sessions, put together around one project."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulators.gateway.project import PERSPECTIVE, Project, of_file
from simulators.gateway.sessions import Answer, Page, Session
from simulators.gateway.system import system
from simulators.gateway.tags import Tags


@dataclass(frozen=True, slots=True)
class User:
    """Somebody the internal identity provider knows."""

    name: str
    first: str
    last: str
    roles: tuple[str, ...]
    password: str

    def auth(self) -> dict[str, Any]:
        """`session.props.auth`."""
        levels = [
            {
                "name": "Authenticated",
                "children": [{"name": "Roles", "children": [{"name": role, "children": []} for role in self.roles]}],
            }
        ]
        return {
            "authenticated": True,
            "idp": "default",
            "idpAttributes": {},
            "securityLevels": levels,
            "user": {
                "id": self.name,
                "userName": self.name,
                "firstName": self.first,
                "lastName": self.last,
                "email": "",
                "roles": list(self.roles),
                "timestamp": int(time.time() * 1000),
            },
        }

    def context(self) -> SimpleNamespace:
        """The web authentication context that a challenge ends with."""
        attributes = {
            "username": self.name,
            "id": self.name,
            "firstname": self.first,
            "lastname": self.last,
            "roles": list(self.roles),
            "email": "",
        }
        user = SimpleNamespace(
            get=lambda name: attributes.get(str(name).lower()),
            getRoles=lambda: list(self.roles),
            getId=lambda: self.name,
            getUserName=lambda: self.name,
            getUsername=lambda: self.name,
            getFirstName=lambda: self.first,
            getLastName=lambda: self.last,
        )
        levels = [f"Authenticated/Roles/{role}" for role in self.roles]
        return SimpleNamespace(
            getUser=lambda: user,
            getRoles=lambda: list(self.roles),
            getSecurityLevels=lambda: levels,
            user=user,
            roles=list(self.roles),
        )


class Gateway:
    """One gateway with one project. `secrets` are those of its secret provider, by name."""

    def __init__(self, folder: Path, tags: Sequence[Path], users: Sequence[User], secrets: Mapping[str, str]) -> None:
        self.log = logging.getLogger("gateway")
        self.project = Project(folder)
        self.users = {one.name: one for one in users}
        self.secrets = secrets
        self.sessions: dict[str, Session] = {}
        self.globals: dict[str, Any] = {}
        self.audited: list[dict[str, Any]] = []
        self.tags = Tags(self._changed)
        for file in tags:
            self.tags.load(file)
        self.known = self.project.library(system(self))
        self._stopped = threading.Event()

    def start(self) -> None:
        """Run what runs on a gateway by itself: start-up, timers."""
        for name, file, _ in self.project.events("ignition/startup"):
            self.doing(name, of_file(file, self.known))
        for name, file, told in self.project.events("ignition/timer"):
            run, seconds = of_file(file, self.known), float(told.get("delay", 1000)) / 1000
            threading.Thread(target=self._timer, args=(name, run, seconds), daemon=True, name=f"timer {name}").start()

    def stop(self) -> None:
        """Let no timer run again."""
        self._stopped.set()

    def _timer(self, name: str, run: Callable[..., Any], seconds: float) -> None:
        while not self._stopped.is_set():
            self.doing(f"timer {name}", run)
            self._stopped.wait(seconds)

    def doing(self, where: str, run: Callable[..., Any], *given: Any, **named: Any) -> None:
        """Run a script of gateway scope; what goes wrong is logged."""
        try:
            run(*given, **named)
        except Exception:  # a gateway logs what a script raises, and goes on
            self.log.exception("%s failed", where)

    def _changed(self) -> None:
        for session in list(self.sessions.values()):
            session.touch()

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────

    def log_in(self, name: str, password: str) -> Session | None:
        """A session, where name and password belong together."""
        user = self.proven(name, password)
        if user is None:
            return None
        session = Session(self, user)
        self.sessions[session.id] = session
        return session

    def proven(self, name: str, password: str) -> User | None:
        """Who that is."""
        user = self.users.get(name)
        return user if user and hmac.compare_digest(user.password, password) else None

    def answer(self, page: Page, id: str, name: str, password: str) -> str:
        """The answer to a challenge; empty: taken. A wrong password may be tried again until it has timed out."""
        challenge = page.challenge
        if challenge is None or challenge.id != id:
            return "nothing is asked any more"
        if challenge.until < time.monotonic():
            return self._challenged(page, challenge.payload, Answer(error="timeout"))
        if not name:
            return self._challenged(page, challenge.payload, Answer(error="cancelled"))
        user = self.proven(name, password)
        if user is None:
            return "user and password do not belong together"
        return self._challenged(page, challenge.payload, Answer(context=user.context()))

    def _challenged(self, page: Page, payload: Any, answer: Answer) -> str:
        page.challenge = None
        for name, file, _ in self.project.events(f"{PERSPECTIVE}/auth-challenge"):
            page.doing(name, of_file(file, self.known), page.session, payload, answer)
        page.touch()
        return ""

    def authorised(self, page: Page, every: bool, levels: Sequence[str]) -> bool:
        """Whether the session's user has these security levels."""
        has = {"Public", "Authenticated", *(f"Authenticated/Roles/{role}" for role in page.session.user.roles)}
        found = [level in has for level in levels]
        return all(found) if every else any(found)

    # ── messages ────────────────────────────────────────────────────────────────────────────────────────

    def send_message(self, project: str, messageHandler: str, payload: Any = None, scope: str = "", **_: Any) -> None:
        """`system.util.sendMessage`: to the handlers of every session, or of the gateway."""
        if project != self.project.folder.name:
            return
        if not scope or "S" in scope:
            for name, file, _told in self.project.events(f"{PERSPECTIVE}/message"):
                if name == messageHandler:
                    for session in list(self.sessions.values()):
                        for page in list(session.pages.values())[-1:]:
                            page.doing(name, of_file(file, self.known), session, payload or {})
        if not scope or "G" in scope:
            for name, file, _told in self.project.events("ignition/message"):
                if name == messageHandler:
                    self.doing(name, of_file(file, self.known), payload or {})

    def note(
        self, action: str = "", actionValue: str = "", auditProfile: str = "", actor: str = "", **more: Any
    ) -> None:
        """`system.util.audit`."""
        self.audited.append({"action": action, "value": actionValue, "profile": auditProfile, "actor": actor, **more})

    def session_info(self) -> list[dict[str, Any]]:
        """`system.perspective.getSessionInfo`."""
        return [
            {"id": one.id, "username": one.user.name, "project": self.project.folder.name, "pageIds": list(one.pages)}
            for one in self.sessions.values()
        ]
