"""Where a command works: the store, the API and the plant of one configuration, read without secrets or plug-ins."""

from __future__ import annotations

import fcntl
import os
import pwd
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import apsw
import click
from pydantic import Field

from agent.access.signing import LONGEST_NAME, LONGEST_REASON, person, readable
from agent.configuration.config import Node, Settings, did_you_mean, moved, parse, read_yaml
from agent.configuration.face_settings import Api
from agent.configuration.settings import Audit, Authority, Document, Plant, Promotion, Shortages, Store
from agent.errors import ConfigError, NotFound, StoreCorrupt, StoreError, StoreUnfit
from agent.people import desk
from agent.units import UnitsFile, UnitTable

ID = click.IntRange(1, 2**63 - 1)  # what SQLite can keep as a row's number
ID.name = "number"  # for click's message, which would say "integer range"
AT_MOST = click.IntRange(1, 1_000_000)
T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


class Sections(Settings):
    """The sections of the configuration that looking and acting need."""

    plant: Plant
    store: Store
    api: Api | None = None
    audit: Audit = Field(default=Audit())
    mappings: Path = Document.model_fields["mappings"].default
    masterdata: Path = Document.model_fields["masterdata"].default
    units: Path = Document.model_fields["units"].default
    models: Path = Document.model_fields["models"].default
    model_keys: Path = Document.model_fields["model_keys"].default
    promotion: Promotion = Promotion()
    shortages: Shortages | None = None
    secrets_dir: Path | None = None


class Rules(Settings):
    """The section that says who must sign."""

    authority: Mapping[str, Authority] = Field(default={})


def now() -> datetime:
    """The wall clock: aware, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """One agent's place on this machine."""

    file: Path
    plant: Plant
    store: Store
    api: Api | None
    audit: Audit
    mappings: Path
    masterdata: Path
    units: Path
    models: Path
    model_keys: Path
    promotion: Promotion
    shortages: Shortages | None
    secrets_dir: Path | None

    @classmethod
    def of(cls, file: Path) -> Place:
        """The place a configuration names; nothing else in the file has to be right. Raises ConfigError."""
        read = parse(_without_tokens(read_yaml(file).pick(Sections.model_fields.__contains__)), Sections)
        store = moved(read.store, os.environ)
        found: dict[str, Any] = {
            name: tidy(value) if isinstance(value, Path) else value for name, value in dict(read).items()
        }
        return cls(file, **{**found, "store": store.model_copy(update={"path": tidy(store.path)})})

    def require_target(self, name: str) -> None:
        """Raises NotFound where the configuration has no such target; `*` is every one."""
        targets = read_yaml(self.file).get("targets")
        known = [one.text for item in (targets.items if targets else ()) if (one := item.get("name"))]
        if name != "*" and name not in known:
            raise NotFound(f"there is no target {name!r} in {self.file}; {did_you_mean(name, known)}")

    def four_eyes(self) -> frozenset[str]:
        """The kinds of workflow whose postings two people must approve. Raises ConfigError."""
        tree = read_yaml(self.file)
        rules = parse(tree.pick(Rules.model_fields.__contains__), Rules).authority
        flows = tree.get("workflows")
        kinds = {name: item.get("kind") for name, item in (flows.mapping if flows else {}).items()}
        return frozenset(
            written.text if (written := kinds.get(name)) else name for name, rule in rules.items() if rule.four_eyes
        )

    def unit_table(self) -> UnitTable:
        """How people call the units; without a file that can be read by their codes, since looking must go on."""
        try:
            return UnitTable.of(parse(read_yaml(self.units), UnitsFile))
        except ConfigError:
            return UnitTable()

    @property
    def path(self) -> Path:
        """The store."""
        return self.store.path

    def look(self, at: desk.Look[T]) -> T:
        """Read the store, also while an agent works on it. Raises NotFound, StoreError."""
        try:
            return desk.look(self.path, at)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            raise StoreCorrupt(
                f"{self.path}: {error}; stop the agent, then run `gatepost recover` or `gatepost restore`"
            ) from error
        except apsw.Error as error:
            if str(error).startswith("no such"):  # table or column
                raise StoreUnfit(
                    f"{self.path} is of another version of the agent ({error}); use its gatepost"
                ) from error
            raise StoreError(
                f"{self.path} cannot be read: {error}; may {login()} read and write its folder?"
            ) from error

    def owner(self) -> str:
        """The process number of the agent that runs on this store; empty when none does."""
        try:
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back at once
        except OSError:
            return os.pread(descriptor, 64, 0).decode(errors="replace").strip() or "unknown"
        finally:
            os.close(descriptor)
        return ""


def _without_tokens(tree: Node) -> Node:
    """The same without the tokens of the API: some have a secret, which the service may read and who looks may not."""
    api = tree.get("api")
    if api is None or not api.mapping:
        return tree
    return replace(tree, children={**tree.mapping, "api": api.pick(lambda key: key != "tokens")})


def tidy(path: Path) -> Path:
    """The path as a person looks for it, without `..`; a link in its last place stays, its lock lies beside it."""
    return path.parent.resolve() / path.name


def login() -> str:
    """Who is typing: the login name, behind sudo that of whoever called it."""
    if os.getuid() == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        return f"uid-{os.getuid()}"


# ── options that many commands share ────────────────────────────────────────────────────────────────────────


def at_place(command: Command) -> Command:
    """``--config FILE``; the command gets it as `place`."""
    return click.option(
        "--config",
        "-c",
        "place",
        type=click.Path(path_type=Path),
        default="edge_config/agent.yaml",
        envvar="GATEPOST_CONFIG",
        show_default=True,
        show_envvar=True,
        callback=lambda _context, _option, file: Place.of(file),
        help="The agent's configuration; it says where the store is.",
    )(command)


def as_json(command: Command) -> Command:
    """``--json``; the command gets it as `json`."""
    return click.option("--json", is_flag=True, help="Print JSON for programs instead of a table for people.")(command)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who acts, why, and with which token a running agent is spoken to."""

    by: str
    reason: str
    token_file: Path | None = None

    @property
    def actor(self) -> str:
        """Who the trail of a store without a running agent names: a name that is not the login's says whose it was."""
        return self.by if self.by == login() else f"{self.by} via {login()}"


def signed(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--by``, ``--reason``, ``--token-file``; the command gets them as `asked`."""

    @click.option(
        "--by",
        default=login,
        show_default="your login name",
        callback=_by,
        help="Who acts; kept in the audit trail.",
    )
    @click.option("--reason", callback=_reason, help="Why; kept in the audit trail. Asked for on a terminal.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path),
        help="The API token for a running agent.  [default: $GATEPOST_TOKEN, else operator.token beside the store]",
    )
    @wraps(command)
    def called(by: str, reason: str, token_file: Path | None, **others: Any) -> Any:
        return command(asked=Asked(by, reason, token_file), **others)

    return called


def _by(_context: click.Context, _option: click.Parameter, by: str) -> str:
    if not by.strip():
        raise click.UsageError("--by: say who acts")
    return _signable("--by", by, LONGEST_NAME, person)


def _reason(context: click.Context, _option: click.Parameter, reason: str | None) -> str:
    if reason is None and sys.stdin.isatty() and not context.resilient_parsing:
        reason = click.prompt("Reason")
    if not (reason or "").strip():
        raise click.UsageError("--reason: say why, it is kept in the audit trail")
    return _signable("--reason", str(reason), LONGEST_REASON, readable)


def plain(_context: click.Context, argument: click.Parameter, text: str) -> str:
    """A name or number that stands in the trail as it was typed."""
    return _signable(argument.make_metavar(_context), text, 128, readable)


def _signable(name: str, text: str, longest: int, check: Callable[[str], str]) -> str:
    """The same rules with and without a running agent. Raises click.UsageError."""
    text = text.strip()
    if len(text) > longest:
        raise click.UsageError(f"{name} has {len(text)} characters; at most {longest} are kept")
    try:
        return check(text)
    except ValueError as error:
        raise click.UsageError(f"{name} {error}") from None
