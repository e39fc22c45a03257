"""Who comes in as an OPC UA client, over which channel, and what they may ask for.

Users are the tokens of `api`: the token's name with the token as password. What a user may do is looked up at every
request, so that a token taken out of the configuration ends with the reload.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import PermissionRuleset, User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState
from asyncua.server.user_managers import UserManager
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509

from agent.access.callers import Identity, identity_of
from agent.access.throttle import WAITING, Throttle, address_of
from agent.access.tokens import Scope, Token
from agent.errors import SourceLost
from agent.sources.opcua_security import OF_CLIENTS, Certificates, leaf, subject, thumbprint

log = logging.getLogger("gatepost.opcua")

MOST_METHODS: Final = 10  # calls in one request
MOST_ITEMS: Final = 20_000  # monitored items of one session
RSA_15: Final = "http://www.w3.org/2001/04/xmlenc#rsa-1_5"  # broken: its padding tells the password
_LOOKING: Final = frozenset(
    ua.NodeId(ua.Int32(getattr(ObjectIds, f"{name}Request_Encoding_DefaultBinary")))
    for name in (
        "Read", "Browse", "TranslateBrowsePathsToNodeIds", "RegisterNodes", "UnregisterNodes", "CreateSubscription",
        "ModifySubscription", "DeleteSubscriptions", "TransferSubscriptions", "CreateMonitoredItems",
        "ModifyMonitoredItems", "DeleteMonitoredItems", "SetMonitoringMode", "SetPublishingMode", "Publish",
        "Republish",
    )
)  # fmt: skip
_CALL: Final = ua.NodeId(ua.Int32(ObjectIds.CallRequest_Encoding_DefaultBinary))
NOBODY: Final = User(role=UserRole.Anonymous)  # as long as a session was not entered
_calling: ContextVar[User | None] = ContextVar("calling", default=None)


@dataclass
class Caller(User):
    """A user of a session. The token is known by its hash; without one it is anybody."""

    sha256: str = ""


class Users(UserManager):
    """The tokens of the configuration as it is now."""

    def __init__(self, tokens: Callable[[], Sequence[Token]], *, anonymous: bool) -> None:
        self._tokens = tokens
        self._anonymous = anonymous

    def get_user(
        self,
        iserver: InternalServer,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        """The bearer of this token by this name; None: nobody of ours."""
        if username is None:
            return Caller(role=UserRole.User) if self._anonymous else None
        digest, found = sha256((password or "").encode("utf-8", "replace")).hexdigest(), None
        for token in self._tokens():
            if hmac.compare_digest(digest, token.sha256) and token.name == username:
                found = Caller(role=UserRole.User, name=token.name, sha256=token.sha256)
        if found is None:
            log.warning("an OPC UA client was refused: its user name and password are no token of `api` and its name")
        return found

    def identity(self, user: User | None) -> Identity | None:
        """Who that is by the configuration of now; None: anybody, or nobody any more."""
        if not isinstance(user, Caller) or not user.sha256:
            return None
        return next((identity_of(token) for token in self._tokens() if token.sha256 == user.sha256), None)

    def calling(self) -> Identity | None:
        """Who calls the method that runs now; None: nobody who may."""
        return self.identity(_calling.get())

    def may_look(self, user: User | None) -> bool:
        """Whether this user may browse and read."""
        if isinstance(user, Caller) and not user.sha256:
            return self._anonymous
        found = self.identity(user)
        return found is not None and found.may(Scope.READ)


class Permissions(PermissionRuleset):
    """Looking for those who may read, methods for those with a name, and nothing else for anybody."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def check_validity(self, user: User, action_type: ua.NodeId, body: object) -> bool:
        """Whether this user may ask for this service; what a method does looks for its own scope."""
        if action_type == _CALL:
            return self._users.identity(user) is not None
        return action_type in _LOOKING and self._users.may_look(user)


class Door:
    """Which channels are good enough: encrypted by a certificate that somebody trusted, or open where that is set."""

    def __init__(self, certificates: Certificates | None, *, open_too: bool) -> None:
        self._certificates = certificates
        self.open_too = open_too

    async def refusal(self, der: bytes, application: ua.ApplicationDescription) -> int:
        """Why this client's certificate is not good, as a status code; Good: it is."""
        if self._certificates is None:
            return int(StatusCodes.BadSecurityPolicyRejected)
        try:
            certificate = x509.load_der_x509_certificate(der)
            await (await self._certificates.validator(OF_CLIENTS))(certificate, application)
        except ServiceError as error:
            await asyncio.to_thread(self._tell, certificate, int(error.code))
            return int(error.code)
        except ValueError:
            return int(StatusCodes.BadCertificateInvalid)
        except (SourceLost, OSError) as error:  # the folder, not the client
            log.error("OPC UA clients cannot be checked: %s", error)  # noqa: TRY400  # the sentence says all of it
            return int(StatusCodes.BadSecurityChecksFailed)
        return int(StatusCodes.Good)

    def _tell(self, certificate: x509.Certificate, code: int) -> None:
        """What a person has to do; where only trust is missing the certificate lies ready for it."""
        name = subject(certificate)
        if code != StatusCodes.BadCertificateUntrusted or self._certificates is None:
            log.warning(
                "the certificate of OPC UA client %s was refused: %s", name, ua.StatusCode(ua.UInt32(code)).name
            )
            return
        file = self._certificates.set_aside(certificate, name)
        if file is None:
            rejected = self._certificates.rejected
            log.warning("the certificate of OPC UA client %s is not trusted, and %s is full; empty it", name, rejected)
            return
        log.warning(
            "the certificate of OPC UA client %s is not trusted; if its SHA-256 is %s, move %s to %s",
            name, thumbprint(certificate), file, self._certificates.trusted / file.name,
        )  # fmt: skip


class Session(InternalSession):
    """A session of a client: over a channel that is good enough, bounded, and methods know who calls them."""

    def __init__(self, inside: Inside, name: str, user: User) -> None:
        super().__init__(inside, inside.aspace, inside.subscription_service, name, user=user)
        self._inside = inside
        self._certificate = b""
        self._refusal = int(StatusCodes.Good)
        self._items = 0
        secret = ua.ByteString(secrets.token_bytes(32))  # nobody guesses it
        self.auth_token = ua.NodeId(secret, ua.Int16(0), ua.NodeIdType.ByteString)
        self.external = True
        inside.register_external_session(self)

    async def create_session(
        self, params: ua.CreateSessionParameters, sockname: tuple[str, int] | None = None
    ) -> ua.CreateSessionResult:
        """As the library does; the certificate is judged now and counts when the session is entered."""
        self._certificate = leaf(params.ClientCertificate or b"")
        if self._certificate:
            self._refusal = await self._inside.door.refusal(self._certificate, params.ClientDescription)
        return await super().create_session(params, sockname)

    def activate_session(
        self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None
    ) -> ua.ActivateSessionResult:
        """Enter; raises ServiceError where the channel is not good enough, the user is nobody, or there is no room.

        Whoever is refused has no session any more: another try needs another one.
        """
        first = self.state is SessionState.Created
        if first:
            self._inside.require_room()
        elif self._inside.throttle.shuts_out(address_of(self.name)):  # who is in stays in, and guesses no more
            raise ServiceError(StatusCodes.BadUserAccessDenied)
        try:
            self._check_channel(peer_certificate)
            return super().activate_session(params, peer_certificate)
        except (ServiceError, ua.uaerrors.UaStatusCodeError):
            if first:
                self._inside.turn_away(self)
            else:
                self._inside.throttle.refused(address_of(self.name))
            raise

    def _check_channel(self, peer_certificate: bytes | None) -> None:
        if not peer_certificate:  # an open channel has none, or an empty one
            if not self._inside.door.open_too:
                raise ServiceError(StatusCodes.BadSecurityPolicyRejected)
        elif self._refusal != StatusCodes.Good:
            raise ServiceError(self._refusal)
        elif leaf(peer_certificate) != self._certificate:  # trusted is another one than that of the channel
            raise ServiceError(StatusCodes.BadSecurityChecksFailed)

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        """Run methods as this session's user."""
        if len(params) > MOST_METHODS:
            raise ServiceError(StatusCodes.BadTooManyOperations)
        before = _calling.set(self.user)
        try:
            return await super().call(params)
        finally:
            _calling.reset(before)

    async def create_monitored_items(
        self, params: ua.CreateMonitoredItemsParameters
    ) -> list[ua.MonitoredItemCreateResult]:
        """As the library does, up to a bound."""
        self._items += len(params.ItemsToCreate)
        if self._items > MOST_ITEMS:
            self._items -= len(params.ItemsToCreate)
            raise ServiceError(StatusCodes.BadTooManyMonitoredItems)
        return await super().create_monitored_items(params)

    async def delete_monitored_items(self, params: ua.DeleteMonitoredItemsParameters) -> list[ua.StatusCode]:
        """As the library does."""
        done = await super().delete_monitored_items(params)
        self._items -= sum(one.is_good() for one in done)
        return done

    async def delete_subscriptions(self, ids: list[int]) -> list[ua.StatusCode]:
        """As the library does; where none is left no item is."""
        done = await super().delete_subscriptions(ids)
        mine = self.subscription_service.subscriptions.values()
        if not any(one.session_id == self.session_id for one in mine):
            self._items = 0
        return done


class Inside(InternalServer):
    """The library's server within bounds, without what strangers could fill it with."""

    def __init__(self, users: Users, door: Door, max_sessions: int, throttle: Throttle) -> None:
        super().__init__(user_manager=users)
        self.door = door
        self.allow_remote_admin = False
        self.throttle = throttle
        self.max_sessions = max_sessions  # that were entered
        self.max_connections = max_sessions + 3 * WAITING
        self.max_pending_activation_seconds = 10.0
        self.max_subscriptions = 5 * max_sessions
        self.max_lifetime_count = 1000
        self.max_monitored_item_queue_size = 100
        self.max_unacked_messages_per_subscription = 100
        self.max_pending_messages_per_connection = 100

    def create_session(
        self,
        name: str,
        user: User = NOBODY,
        external: bool = False,  # noqa: FBT001, FBT002  # as the library calls it
    ) -> InternalSession:
        """A session that waits to be entered; a connection has one, and it takes no place. Raises ServiceError."""
        if self.throttle.shuts_out(address_of(name)):
            raise ServiceError(StatusCodes.BadTcpServerTooBusy)
        self.require_room()
        for one in list(self._external_sessions.values()):
            if one.state is SessionState.Created and one.name == name:  # the connection's address and port
                self._forget(one)
        return Session(self, name, user)

    @property
    def entered(self) -> int:
        """How many sessions there are."""
        return sum(one.state is SessionState.Activated for one in self._external_sessions.values())

    def require_room(self) -> None:
        """Raises ServiceError where as many sessions as may be were entered."""
        if self.entered >= self.max_sessions:
            raise ServiceError(StatusCodes.BadTooManySessions)

    def turn_away(self, session: Session) -> None:
        """Nobody of ours: the session is over, and the address is remembered for a while."""
        self._forget(session)
        self.throttle.refused(address_of(session.name))

    def _forget(self, session: InternalSession) -> None:
        session.state = SessionState.Closed
        self.unregister_external_session(session)

    def register_server(self, server: Any, conf: Any = None) -> None:
        """No directory of servers: anybody could fill it. Raises ServiceError."""
        raise ServiceError(StatusCodes.BadServiceUnsupported)

    def decrypt_user_token(self, isession: Any, token: ua.UserNameIdentityToken) -> tuple[str, str]:
        """Name and password; the old padding is refused. Raises ServiceError."""
        if token.EncryptionAlgorithm == RSA_15:
            raise ServiceError(StatusCodes.BadIdentityTokenRejected)
        return super().decrypt_user_token(isession, token)

    async def stop(self) -> None:
        """Without the second that the clock's task may sleep on."""
        if self.time_task is not None:
            self.time_task.cancel()
            self.time_task = None
        await super().stop()
