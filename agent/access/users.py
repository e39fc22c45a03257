"""The people who may log in at the console: a file beside the store that `gatepost user` keeps, hashes only.

Whoever may write the agent's data folder decides who they are. The agent reads the file again when it has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationError

from agent import durable
from agent.access.passwords import checked
from agent.access.signing import LONGEST_NAME, person
from agent.access.tokens import Bearer, Scope
from agent.errors import Conflict, GatepostError, NotFound
from agent.strict import strictjson
from agent.strict.schema import Settings

log = logging.getLogger("gatepost.users")
FILE: Final = "users.json"


class User(Settings):
    """Somebody who may log in. The password is kept nowhere, only its hash."""

    name: Bearer
    full_name: Annotated[str, AfterValidator(person)] = Field(min_length=1, max_length=LONGEST_NAME)
    password: Annotated[str, AfterValidator(checked)]  # argon2id, PHC form
    scopes: tuple[Scope, ...] = Field(min_length=1)
    roles: tuple[str, ...] = ()  # as `rights` in the configuration name them
    lines: tuple[str, ...] = ()  # none: all


class _File(Settings):
    users: tuple[User, ...]


def read(path: Path) -> tuple[User, ...]:
    """Everybody in the file; nobody where there is none. Raises GatepostError for a file that cannot be read."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise GatepostError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return _File.model_validate(strictjson.read(content)).users
    except (GatepostError, ValidationError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise GatepostError(f"{path} is not as `gatepost user` wrote it: {what}; add its users again") from None


def write(path: Path, users: Sequence[User]) -> None:
    """Replace the file; only the agent's user can read it. Raises OSError."""
    durable.replace_durably(path, _File(users=tuple(users)).model_dump_json(indent=1).encode() + b"\n", 0o600)


def add(path: Path, user: User, *, replace: bool = False) -> None:
    """Add somebody, or give who is there already another password, name or rights. Raises Conflict, GatepostError."""
    users = read(path)
    if not replace and any(one.name == user.name for one in users):
        raise Conflict(f"there is a user {user.name} already; --replace gives it this password and these rights")
    write(path, sorted([*(one for one in users if one.name != user.name), user], key=lambda one: one.name))


def remove(path: Path, name: str) -> None:
    """Take somebody out; their session ends with the next request. Raises NotFound, GatepostError."""
    users = read(path)
    if all(one.name != name for one in users):
        raise NotFound(f"there is no user {name}; `gatepost user list` shows who there is")
    write(path, [one for one in users if one.name != name])


class Users:
    """Who there is now: the file is read again when it has changed, and what cannot be read changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._users: tuple[User, ...] = ()

    def __call__(self) -> tuple[User, ...]:
        """Everybody who may log in."""
        try:
            stat = self._path.stat()
            seen = stat.st_mtime_ns, stat.st_size, stat.st_ino
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen
            try:
                self._users = read(self._path)
            except GatepostError as error:
                log.error("%s; those who could log in before still can", error)  # noqa: TRY400  # the message says it all
        return self._users
