"""To an OPC UA server and into a session: only where policy, mode, identity and both certificates fit."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from agent.errors import SourceLost
from agent.sources.opcua_config import OpcuaConnection, Policy
from agent.sources.opcua_security import Certificates, Own, ServerRefused, leaf
from agent.sources.opcua_values import status_name

_Answer = TypeVar("_Answer")

CLOSE_S: Final = 2.0
SESSION_S: Final = 60.0  # how long a server keeps what we left without a goodbye
PRODUCT: Final = "urn:gatepost"
POLICIES: Final[Mapping[Policy, type[security_policies.SecurityPolicy]]] = {
    Policy.NONE: security_policies.SecurityPolicyNone,
    Policy.BASIC256SHA256: security_policies.SecurityPolicyBasic256Sha256,
    Policy.AES128: security_policies.SecurityPolicyAes128Sha256RsaOaep,
    Policy.AES256: security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_NOT_AUTHORISED = (
    StatusCodes.BadUserAccessDenied,
    StatusCodes.BadIdentityTokenRejected,
    StatusCodes.BadIdentityTokenInvalid,
    StatusCodes.BadUserSignatureInvalid,
)
_DISTRUSTED = (
    StatusCodes.BadSecurityChecksFailed,
    StatusCodes.BadCertificateUntrusted,
    StatusCodes.BadCertificateUriInvalid,
    StatusCodes.BadCertificateTimeInvalid,
    StatusCodes.BadCertificateUseNotAllowed,
    StatusCodes.BadCertificateInvalid,
    StatusCodes.BadCertificateRevoked,
    StatusCodes.BadCertificateIssuerRevocationUnknown,
    StatusCodes.BadCertificateChainIncomplete,
)

# What the library logs about every lost connection, with stack traces, the source says once and in one line.
for _name in ("asyncua.client", "asyncua.common.subscription", "asyncua.uaprotocol", "asyncuagds.validate"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class Connected(NamedTuple):
    """A client in an active session, and when the certificates on either side expire."""

    client: Client
    expires: Mapping[str, datetime]  # "our" and "the server's"


async def connect(config: OpcuaConnection, url: str, certificates: Certificates, now: datetime) -> Connected:
    """A new session. Raises SourceLost, and ServerRefused where trying again is of no use."""
    own: Own | None = None
    expires: dict[str, datetime] = {}
    client = _client(url, config)
    try:
        endpoint = await plainly(endpoint_of(config, url))
        if config.secured:
            own = await asyncio.to_thread(certificates.own, now)  # making a key takes a second on a small box
            der = leaf(endpoint.ServerCertificate or b"")
            theirs = await certificates.judge(der, endpoint.Server)
            expires = {"our": own.expires, "the server's": theirs.not_valid_after_utc}
            await plainly(_secure(client, config, certificates, own, der))
        await plainly(_enter(client, config))
    except BaseException as error:  # also when cancelled: the connection is given back
        await leave(client)
        if isinstance(error, SourceLost) or not isinstance(error, Exception):
            raise
        raise translated(error, own) from None  # whatever a foreign server makes the library raise ends this try
    return Connected(client, expires)


async def plainly(answer: Awaitable[_Answer]) -> _Answer:
    """What the library answers, with asyncio's own cancellation.

    Where an answer comes at the very moment that nobody waits for it any more the library raises a kind of its own,
    and neither a task group nor a timeout takes that for a cancellation: the agent would end by it.
    """
    try:
        return await answer
    except asyncio.CancelledError:
        raise asyncio.CancelledError from None


async def asked(answer: Awaitable[_Answer]) -> _Answer:
    """The same, and whatever the library or the server makes of it is SourceLost."""
    try:
        return await plainly(answer)
    except SourceLost:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a foreign server makes the library raise
        raise translated(error, None) from None


async def leave(client: Client) -> None:
    """End session and connection; what does not answer within moments is left behind."""
    protocol = client.uaclient.protocol
    client.uaclient.pre_request_hook = None  # it refuses requests of a lost connection, also this last one
    try:
        async with asyncio.timeout(CLOSE_S):
            await plainly(client.uaclient.close_session(True))
            await plainly(client.close_secure_channel())
    except Exception:  # noqa: BLE001, S110  # the connection is given up: what the library says about it is of no use
        pass
    finally:
        client.disconnect_socket()
        if protocol is not None and protocol.transport is not None:
            protocol.transport.abort()  # without waiting for a peer that takes nothing more


async def endpoint_of(config: OpcuaConnection, url: str) -> ua.EndpointDescription:
    """What the server offers for our policy and mode. Raises ServerRefused with what it offers instead."""
    offered = await endpoints(config, url)
    uri, mode = POLICIES[config.policy].URI, mode_of(config)
    for one in offered:
        if one.SecurityPolicyUri == uri and one.SecurityMode == mode and str(one.EndpointUrl).startswith("opc.tcp"):
            return one
    wanted = offer(uri, mode)
    others = ", ".join(sorted({offer(one.SecurityPolicyUri, one.SecurityMode) for one in offered})) or "nothing"
    raise ServerRefused("server_refused", f"the server does not offer {wanted}; it offers {others}")


async def endpoints(config: OpcuaConnection, url: str) -> Sequence[ua.EndpointDescription]:
    """What the server offers. Some tell it only under /discovery, as Ignition does. Raises what asyncua raises."""
    try:
        return await _client(url, config).connect_and_get_server_endpoints()
    except (ConnectionRefusedError, socket.gaierror):
        raise
    except (OSError, TimeoutError, UaError) as error:
        if isinstance(error, TimeoutError):
            raise
        try:
            return await _client(url.rstrip("/") + "/discovery", config).connect_and_get_server_endpoints()
        except (OSError, TimeoutError, UaError):
            raise error from None


def offer(policy_uri: str | None, mode: ua.MessageSecurityMode) -> str:
    """A policy and mode in the configuration's words."""
    name = str(policy_uri or "").rpartition("#")[2].lower() or "none"
    known = next((str(one) for one, policy in POLICIES.items() if policy_uri == policy.URI), name)
    words = {ua.MessageSecurityMode.Sign: "/sign", ua.MessageSecurityMode.SignAndEncrypt: "/sign_and_encrypt"}
    return known + words.get(mode, "")


def mode_of(config: OpcuaConnection) -> ua.MessageSecurityMode:
    """The configured mode."""
    if not config.secured:
        return ua.MessageSecurityMode.None_
    signs = config.mode == "sign"
    return ua.MessageSecurityMode.Sign if signs else ua.MessageSecurityMode.SignAndEncrypt


def translated(error: Exception, own: Own | None) -> SourceLost:
    """What the library or the server said, and what to do."""
    code = getattr(error, "code", None)
    if code in _NOT_AUTHORISED:
        return ServerRefused(
            "not_authorised", f"the server refuses who we are ({status_name(code)}); look at user, password and role"
        )
    if code in _DISTRUSTED and own is not None:
        return ServerRefused(
            "not_trusted",
            f"the server does not trust our certificate ({status_name(code)}); trust {own.certificate} there",
        )
    if isinstance(code, int):
        return SourceLost(f"the server answers {status_name(code)}")
    if isinstance(error, TimeoutError):
        return SourceLost("the server does not answer")
    if isinstance(error, ConnectionRefusedError):
        return SourceLost("nothing listens there")
    if isinstance(error, socket.gaierror):
        return SourceLost("its name is not known here")
    closed = "the server closed the connection" if isinstance(error, ConnectionError) else ""
    return SourceLost(closed or f"{type(error).__name__}: {error}")


def _client(url: str, config: OpcuaConnection) -> Client:
    client = Client(url, timeout=config.silent_s)
    client.name = client.description = f"Gatepost {config.name}"
    client.application_uri, client.product_uri = PRODUCT, PRODUCT
    client.session_timeout = int(SESSION_S * 1000)
    client.max_messagesize = config.max_message_mb << 20
    return client


async def _secure(client: Client, config: OpcuaConnection, certificates: Certificates, own: Own, der: bytes) -> None:
    client.application_uri = own.uri
    client.certificate_validator = await certificates.validator()
    await client.set_security(
        POLICIES[config.policy], own.certificate, own.key, server_certificate=der, mode=mode_of(config)
    )
    if config.user_cert_file is not None and config.user_key_file is not None:
        await client.load_client_certificate(str(config.user_cert_file))
        await client.load_private_key(config.user_key_file)


async def _enter(client: Client, config: OpcuaConnection) -> None:
    """Channel, session, identity; the library's own supervisor is not started: a new client replaces a lost one."""
    await client.connect_socket()
    await client.send_hello()
    _limit(client, config.max_message_mb << 20)
    await client.open_secure_channel()
    await client.create_session()  # here the validator looks once more, before anything about us is told
    password = config.password.reveal() if config.password is not None else None
    _require_identity(client, config)
    await client.activate_session(config.user, password, client.user_certificate)
    if client.uaclient.protocol is not None:
        client.uaclient.protocol.timeout = config.request_timeout_s


def _limit(client: Client, most: int) -> None:
    """The library takes its limit from the server, which may set none."""
    protocol: Any = client.uaclient.protocol
    limits = protocol._connection._limits  # it offers no other way
    limits.max_message_size = min(limits.max_message_size or most, most)


def _require_identity(client: Client, config: OpcuaConnection) -> None:
    """Only an identity that the server takes, and no password that would travel readable. Raises ServerRefused."""
    kind = ua.UserTokenType.Anonymous
    if config.user is not None:
        kind = ua.UserTokenType.UserName
    elif config.user_cert_file is not None:
        kind = ua.UserTokenType.Certificate
    offered = _tokens(client._policy_ids)  # what the session's own endpoint said; the library keeps it to itself
    if offered and kind not in offered:
        words = ", ".join(sorted(one.name for one in offered))
        raise ServerRefused("not_authorised", f"the server takes no {kind.name} identity here; it takes {words}")
    unprotected = client.server_policy(kind).SecurityPolicyUri == security_policies.SecurityPolicyNone.URI
    if kind is ua.UserTokenType.UserName and unprotected and config.mode == "sign":
        raise ServerRefused(
            "not_authorised",
            "the server wants the password unencrypted; choose mode: sign_and_encrypt, or mend it there",
        )


def _tokens(policies: Iterable[ua.UserTokenPolicy] | None) -> set[ua.UserTokenType]:
    return {one.TokenType for one in policies or ()}
