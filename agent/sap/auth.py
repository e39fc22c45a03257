"""Who the agent is to SAP: Basic, OAuth 2.0 client credentials, or a certificate alone; each gives one header value."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlencode

from agent.errors import ErpUnavailable
from agent.sap.connection import BasicAuth, OAuth2, SapConnection

Exchange = Callable[
    [str, dict[str, str], bytes], Awaitable[tuple[int, bytes]]
]  # POST url, headers, body → status, body
Monotonic = Callable[[], float]  # seconds; not the wall clock, which steps
SHORTEST_LIFE = 10.0  # seconds between two token requests, whatever the server says about their life


class Identity(Protocol):
    """Gives the Authorization header, and a new one after SAP refused it."""

    async def authorization(self) -> str:
        """The header's value; empty: none is sent. Raises ErpUnavailable."""

    def refused(self, authorization: str) -> bool:
        """SAP answered 401 to this value. True: another one can be had, so it is worth asking again."""


def identity(connection: SapConnection, exchange: Exchange, monotonic: Monotonic) -> Identity:
    """The identity that the configuration names."""
    auth = connection.auth
    if isinstance(auth, BasicAuth):
        return Fixed(basic(auth.user, auth.password.reveal()))
    if isinstance(auth, OAuth2):
        return ClientCredentials(auth, exchange, monotonic)
    return Fixed("")


def basic(user: str, password: str) -> str:
    """The value of a Basic Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Fixed:
    """A header that does not change until the configuration does; empty where a certificate is the only identity."""

    def __init__(self, value: str) -> None:
        self._value = value

    async def authorization(self) -> str:
        """The header's value."""
        return self._value

    def refused(self, authorization: str) -> bool:
        """False: asking again with the same password would only lock the user sooner."""
        return False


class ClientCredentials:
    """An access token, fetched once for all callers, renewed at 80 % of its life or after a refusal."""

    def __init__(self, auth: OAuth2, exchange: Exchange, monotonic: Monotonic) -> None:
        self._auth = auth
        self._exchange = exchange
        self._monotonic = monotonic
        self._single_flight = asyncio.Lock()
        self._value = ""
        self._renew_at = 0.0

    async def authorization(self) -> str:
        """``Bearer …``. Raises ErpUnavailable where no token is given."""
        if not self._value or self._monotonic() >= self._renew_at:
            async with self._single_flight:
                if not self._value or self._monotonic() >= self._renew_at:
                    await self._fetch()
        return self._value

    def refused(self, authorization: str) -> bool:
        """True: a new token is fetched next time, unless that has happened meanwhile."""
        if authorization == self._value:
            self._value = ""
        return True

    async def _fetch(self) -> None:
        auth = self._auth
        form = {"grant_type": "client_credentials"} | ({"scope": auth.scope} if auth.scope else {})
        headers = {
            "Authorization": basic(auth.client_id, auth.client_secret.reveal()),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        status, body = await self._exchange(auth.token_url, headers, urlencode(form).encode())
        token, life = _token(auth.token_url, status, body)
        self._value = f"Bearer {token}"
        self._renew_at = self._monotonic() + max(0.8 * life, SHORTEST_LIFE)


def _token(url: str, status: int, body: bytes) -> tuple[str, float]:
    """Token and life in seconds (RFC 6749 section 5.1). Raises ErpUnavailable; the answer itself is never shown."""
    try:
        answer = json.loads(body)
        token, life = answer["access_token"], float(answer.get("expires_in", 600))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        token, life = "", 0.0
    if status != 200 or not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise ErpUnavailable(
            f"{url}: answered {status} without an access token; check client_id, client_secret and scope",
            code="not_authorised",
        )
    return token, life if 0 < life < 1e7 else 600.0
