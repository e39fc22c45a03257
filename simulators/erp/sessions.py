"""Who may come in: Basic, OAuth2 client credentials, client certificates; and CSRF tokens bound to their cookies."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from simulators.erp.odata import Answer, json_answer

SYSTEM = "S4H"


@dataclass(slots=True)
class Session:
    """A security session: its token is worth something only with its own cookies."""

    token: str
    xsrf: str
    expires: datetime
    services: set[str] = field(default_factory=set)  # those for which the token was fetched


@dataclass(slots=True)
class Sessions:
    """Sessions and bearer tokens of one client (Mandant)."""

    user: str = ""
    password: str = ""
    client: str = "100"
    session_seconds: float = 1800.0
    bearer_seconds: float = 3600.0
    token_per_service: bool = False  # a token fetched at one service is refused at another
    sessions: dict[str, Session] = field(default_factory=dict)
    bearers: dict[str, datetime] = field(default_factory=dict)
    logons: int = 0  # bearer tokens issued
    fetches: int = 0  # CSRF tokens asked for

    def user_of(self, headers: Mapping[str, str], certificate_name: str, now: datetime) -> str | None:
        """The user behind a request, or None; anybody may come in where no user is configured."""
        if certificate_name:
            return certificate_name if certificate_name == self.user or not self.user else None
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            expires = self.bearers.get(credentials)
            return self.user or "OAUTH" if expires is not None and now < expires else None
        if not self.user:
            return "ANONYMOUS"
        return self.user if scheme.lower() == "basic" and self._knows(credentials) else None

    def _knows(self, credentials: str) -> bool:
        expected = base64.b64encode(f"{self.user}:{self.password}".encode())
        return hmac.compare_digest(credentials.encode(), expected)

    # ── CSRF ────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, answer: Answer, cookies: Mapping[str, str], service: str, now: datetime, *, secure: bool) -> None:
        """Answer `X-CSRF-Token: Fetch`: the token of the session, and cookies when the session is new."""
        self.fetches += 1
        name = cookies.get(self.cookie, "")
        session = self.sessions.get(name)
        if session is None or session.expires <= now:
            name = secrets.token_urlsafe(24)
            expires = now + timedelta(seconds=self.session_seconds)
            session = Session(f"{secrets.token_urlsafe(18)}==", secrets.token_urlsafe(18), expires)
            self.sessions[name] = session
            end = "; path=/; secure; HttpOnly" if secure else "; path=/; HttpOnly"
            answer.add("set-cookie", f"sap-usercontext=sap-client={self.client}; path=/")
            answer.add("set-cookie", f"{self.cookie}={name}{end}")
            answer.add("set-cookie", f"{self.xsrf_cookie}={session.xsrf}{end}")
        session.services.add(service)
        answer.add("x-csrf-token", session.token)

    def may_write(self, headers: Mapping[str, str], cookies: Mapping[str, str], service: str, now: datetime) -> bool:
        """True when the token and both cookies belong to one living session."""
        session = self.sessions.get(cookies.get(self.cookie, ""))
        return (
            session is not None
            and now < session.expires
            and headers.get("x-csrf-token") == session.token
            and cookies.get(self.xsrf_cookie) == session.xsrf
            and (not self.token_per_service or service in session.services)
        )

    def end(self, cookies: Mapping[str, str]) -> None:
        """Throw away the session of these cookies."""
        self.sessions.pop(cookies.get(self.cookie, ""), None)

    @property
    def cookie(self) -> str:
        """The name of the session cookie."""
        return f"SAP_SESSIONID_{SYSTEM}_{self.client}"

    @property
    def xsrf_cookie(self) -> str:
        """The name of the XSRF cookie."""
        return f"sap-XSRF_{SYSTEM}_{self.client}"

    # ── OAuth2 ──────────────────────────────────────────────────────────────────────────────────────────────

    def issue(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Answer:
        """POST /oauth/token: a bearer token for client credentials in the header or the form."""
        form = dict(parse_qsl(body.decode("latin-1")))
        if form.get("grant_type") != "client_credentials":
            return json_answer(400, {"error": "unsupported_grant_type"})
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            named = f"{form.get('client_id', '')}:{form.get('client_secret', '')}"
            credentials = base64.b64encode(named.encode()).decode()
        if self.user and not self._knows(credentials):
            return json_answer(401, {"error": "invalid_client"})
        token = secrets.token_urlsafe(32)
        self.logons += 1
        self.bearers[token] = now + timedelta(seconds=self.bearer_seconds)
        payload = {
            "access_token": token,
            "token_type": "bearer",
            "expires_in": int(self.bearer_seconds),
        }
        return json_answer(200, payload)


def read_cookies(header: str) -> dict[str, str]:
    """The cookies of a request; values may contain equal signs."""
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return {name: value for name, _, value in pairs if name}
