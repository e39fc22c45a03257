"""Secrets: the configuration names them, the platform keeps them, and nothing ever prints them.

``password: {secret: erp_password}`` is looked up, in this order, as a file in ``$CREDENTIALS_DIRECTORY`` (systemd),
``/run/secrets`` (containers) and the configured ``secrets_dir``, and last in the environment variable
``GATEPOST_SECRET_ERP_PASSWORD``, which is for benches and tests only: child processes and crash dumps show it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from agent.logs import SHORTEST_SECRET, conceal

CONTAINER = Path("/run/secrets")  # mounted for one container only, by most engines readable by all inside of it
MAX_BYTES = 64 * 1024  # a certificate chain fits; anything larger is the wrong file
ENVIRONMENT = "GATEPOST_SECRET_"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOW = "write {secret: NAME} and keep the value in a file of that name"


class SecretError(ValueError):
    """A secret cannot be had; the message says where it was looked for and never what it holds."""


class Secret:
    """A value that only `reveal` shows. As text, in JSON and in a repr it is its name."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value
        conceal(value)

    def reveal(self) -> str:
        """The value itself, at the one place where it leaves for the wire."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __str__(self) -> str:
        return f"{{secret: {self.name}}}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.name, self._value) == (other.name, other._value)

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _look_up,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda secret: {"secret": secret.name}),
        )


@dataclass(frozen=True, slots=True)
class SecretPlaces:
    """Where secrets are kept: folders in the order they are looked in, then the environment."""

    folders: tuple[Path, ...]
    environ: Mapping[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str], secrets_dir: Path | None = None) -> SecretPlaces:
        """systemd's credentials, then the container's, then the configured folder."""
        systemd = environ.get("CREDENTIALS_DIRECTORY")
        folders = (Path(systemd) if systemd else None, CONTAINER, secrets_dir)
        return cls(tuple(folder for folder in folders if folder is not None), environ)

    def find(self, name: str) -> Secret:
        """The secret of this name. Raises SecretError: missing, empty, too short, or a file that everybody can read."""
        if not _NAME.fullmatch(name):
            raise SecretError(f"{name!r} is no name for a secret; use letters, digits, _ . and -")
        for folder in self.folders:
            value = _read(folder / name)
            if value is not None:
                return Secret(name, value)
        variable = ENVIRONMENT + re.sub(r"[.-]", "_", name).upper()
        if variable in self.environ:
            return Secret(name, _filled(self.environ[variable], f"the environment variable {variable}"))
        looked = ", ".join(str(folder / name) for folder in self.folders)
        raise SecretError(f"the secret {name!r} is missing; looked for {looked} and the variable {variable}")


def _read(path: Path) -> str | None:
    """The content of a secret file; None where there is none."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            raw = stream.read(MAX_BYTES + 1)
        value = raw.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SecretError(f"the secret file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretError(f"the secret file {path} is not UTF-8 text") from None
    if mode & stat.S_IROTH and path.parent != CONTAINER:
        raise SecretError(f"the secret file {path} can be read by everyone; chmod it to 0400")
    if len(raw) > MAX_BYTES:
        raise SecretError(f"the secret file {path} is larger than {MAX_BYTES // 1024} KiB; is it the right file?")
    return _filled(value, f"the secret file {path}")


def _filled(value: str, place: str) -> str:
    """The value without the newline that editors add."""
    value = value.rstrip("\r\n")
    if not value:
        raise SecretError(f"{place} is empty")
    if len(value) < SHORTEST_SECRET:
        raise SecretError(f"{place} holds fewer than {SHORTEST_SECRET} characters: no secret, and no log could mask it")
    return value


def _look_up(written: Any, info: core_schema.ValidationInfo) -> Secret:
    if isinstance(written, Secret):
        return written
    if not isinstance(written, Mapping):
        raise PydanticCustomError("secret", f"is written in the file itself; {_HOW}")
    if set(written) != {"secret"} or not isinstance(written["secret"], str):
        raise PydanticCustomError("secret", f"is no reference to a secret; {_HOW}")
    places: SecretPlaces = (info.context or {}).get("secrets") or SecretPlaces.of(os.environ)
    try:
        return places.find(written["secret"])
    except SecretError as error:
        raise PydanticCustomError("secret", "{reason}", {"reason": str(error)}) from None
