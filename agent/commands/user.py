"""`gatepost user`: who may log in at the console."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from pydantic import ValidationError

from agent.access import users
from agent.access.passwords import SHORTEST, hashed
from agent.access.tokens import Scope
from agent.commands import show
from agent.commands.place import Place, as_json, at_place, plain


@click.group()
def user() -> None:
    """Who may log in at the console: add, list, remove.

    They stand in a file beside the store that only the agent's user can read, each with a hash of the password. A
    running agent knows them at once.
    """


@user.command()
@click.argument("name", callback=plain)
@click.option("--full-name", required=True, help="As it stands beside a signature.")
@click.option(
    "--scope", "scopes", type=click.Choice([one.value for one in Scope]), multiple=True, required=True,
    help="What they may do; give it several times for several.",
)  # fmt: skip
@click.option("--role", "roles", multiple=True, help="As `rights` in the configuration name it; give it several times.")
@click.option("--line", "lines", multiple=True, help="Only for this line; give it several times.  [default: all]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, for scripts.")
@click.option("--replace", is_flag=True, help="Give somebody who is there already this password, name and rights.")
@at_place
def add(
    *, name: str, full_name: str, scopes: tuple[str, ...], roles: tuple[str, ...], lines: tuple[str, ...],
    password_stdin: bool, replace: bool, place: Place,
) -> None:  # fmt: skip
    """Add somebody; the password is asked for.

    \b
    Example:
      gatepost user add anna --full-name "Anna Berg" --scope read --scope approve --line mixing
    """
    try:
        made = users.User(
            name=name, full_name=full_name, password=hashed(_password(name, from_stdin=password_stdin)),
            scopes=tuple(map(Scope, scopes)), roles=roles, lines=lines,
        )  # fmt: skip
    except ValidationError as error:
        wrong = error.errors()[0]
        raise click.UsageError(f"{wrong['loc'][0]}: {wrong['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise click.UsageError(f"the password {error}") from None
    path = _file(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    users.add(path, made, replace=replace)
    show.say(f"{name} can log in at the console ({', '.join(scopes)}); written to {path}")


@user.command("list")
@as_json
@at_place
def list_(*, json: bool, place: Place) -> None:
    """Show who there is and what they may do."""
    found = [one.model_dump(mode="json", exclude={"password"}) for one in users.read(_file(place))]
    if json:
        show.data(found)
        return
    if not found:
        show.say("nobody can log in at the console yet; `gatepost user add NAME` adds somebody")
        return
    parts = ("scopes", "roles", "lines")
    rows = [(one["name"], one["full_name"], *(", ".join(one[part]) for part in parts)) for one in found]
    show.table(("user", "name", "may", "roles", "only lines"), rows)


@user.command()
@click.argument("name", callback=plain)
@at_place
def remove(*, name: str, place: Place) -> None:
    """Take somebody out; their session ends with the next request."""
    users.remove(_file(place), name)
    show.say(f"{name} cannot log in any more")


def _file(place: Place) -> Path:
    return place.path.parent / users.FILE


def _password(name: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt(
        f"password of {name} ({SHORTEST} characters or more)", hide_input=True, confirmation_prompt="once more"
    )
    return password
