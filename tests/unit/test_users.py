"""The file of the console's users, and `gatepost user` that keeps it."""

from __future__ import annotations

import json
import stat

import pytest

from agent.access import users
from agent.access.passwords import checked, hashed, matches
from agent.access.tokens import Scope, Token
from agent.errors import Conflict, GatepostError, NotFound
from tests.command_line import folder, gatepost_

PASSWORD = "correct horse battery"


def user(name: str = "anna", **changes: object) -> users.User:
    return users.User.model_validate(
        {"name": name, "full_name": "Anna Berg", "password": hashed(PASSWORD), "scopes": ["read"], **changes}
    )


def test_a_password_fits_its_hash_and_no_other():
    """argon2id, salted: the same password never gives the same hash."""
    phc = hashed(PASSWORD)
    assert phc.startswith("$argon2id$")
    assert phc != hashed(PASSWORD)
    assert matches(PASSWORD, phc)
    assert not matches(PASSWORD + " ", phc)
    assert not matches(PASSWORD, None)


@pytest.mark.parametrize("password", ["", "short", "x" * 257])
def test_a_password_that_is_too_short_or_too_long_is_refused(password):
    """Twelve characters at least."""
    with pytest.raises(ValueError, match="characters; it needs 12 to 256"):
        hashed(password)


@pytest.mark.parametrize(
    "phc",
    [
        "plain text",
        "$2b$12$KIXQJ0JQ0JQ0JQ0JQ0JQ0u",
        "$argon2i$v=19$m=19456,t=3,p=1$c29tZXNhbHRzb21l$3pUfKQ0c9ZQ0mS3vYg5b3g",
        "$argon2id$v=19$m=4194304,t=3,p=1$c29tZXNhbHRzb21l$3pUfKQ0c9ZQ0mS3vYg5b3g",
    ],
)
def test_another_hash_and_one_that_would_take_the_memory_are_refused(phc):
    """Only argon2id, and only with work that the box can do."""
    with pytest.raises(ValueError, match="gatepost user NAME"):
        checked(phc)


def test_only_the_agents_user_can_read_the_file(tmp_path):
    """Hashes are nobody else's business."""
    users.add(tmp_path / users.FILE, user())
    assert stat.S_IMODE((tmp_path / users.FILE).stat().st_mode) == 0o600


def test_adding_somebody_twice_needs_saying_so(tmp_path):
    """A slip of the fingers takes nobody's password away."""
    path = tmp_path / users.FILE
    users.add(path, user())
    with pytest.raises(Conflict, match="--replace"):
        users.add(path, user(full_name="Another"))
    users.add(path, user(full_name="Another"), replace=True)
    assert [one.full_name for one in users.read(path)] == ["Another"]


def test_a_change_counts_at_once_and_a_broken_file_changes_nothing(tmp_path):
    """The agent follows the file; what it cannot read locks nobody out."""
    path = tmp_path / users.FILE
    known = users.Users(path)
    assert known() == ()
    users.add(path, user())
    assert [one.name for one in known()] == ["anna"]
    path.write_text("{")
    assert [one.name for one in known()] == ["anna"]
    path.unlink()
    assert known() == ()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"users": [{"name": "anna"}]}', '{"users": 1}', '{"users": [], "x": 1}']
)
def test_a_file_that_was_written_by_somebody_else_is_refused_with_its_name(tmp_path, content):
    """The error says which file, and what to do."""
    path = tmp_path / users.FILE
    path.write_text(content)
    with pytest.raises(GatepostError, match=r"users.json is not as `gatepost user` wrote it"):
        users.read(path)


def test_who_is_not_there_cannot_be_removed(tmp_path):
    """The error says where to look."""
    with pytest.raises(NotFound, match="gatepost user list"):
        users.remove(tmp_path / users.FILE, "anna")


def test_the_command_adds_lists_and_removes(tmp_path):
    """What an engineer types at commissioning."""
    config = folder(tmp_path)
    more = ("--full-name", "Anna Berg", "--scope", "read", "--scope", "approve", "--line", "mixing")
    assert (
        "anna can log in"
        in gatepost_(
            config, "user", "add", "anna", *more, "--role", "Supervisor", "--password-stdin", input=f"{PASSWORD}\n"
        ).out
    )
    listed = gatepost_(config, "user", "list", "--json").out
    assert json.loads(listed) == [
        {
            "name": "anna",
            "full_name": "Anna Berg",
            "scopes": ["read", "approve"],
            "roles": ["Supervisor"],
            "lines": ["mixing"],
        }
    ]
    (found,) = users.read(tmp_path / "data" / users.FILE)
    assert matches(PASSWORD, found.password)
    assert found.scopes == (Scope.READ, Scope.APPROVE)
    assert "anna cannot log in any more" in gatepost_(config, "user", "remove", "anna").out
    assert "nobody can log in" in gatepost_(config, "user", "list").out


@pytest.mark.parametrize(
    ("name", "password", "said"),
    [
        ("anna", "short", "the password has 5 characters; it needs 12 to 256"),
        ("Anna Berg", PASSWORD, "name: String should match pattern"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(tmp_path, name, password, said):
    """Exit code 2, and no file."""
    config = folder(tmp_path)
    more = ("--full-name", "Anna Berg", "--scope", "read", "--password-stdin")
    refused = gatepost_(config, "user", "add", name, *more, input=f"{password}\n")
    assert refused.code == 2
    assert said in refused.out
    assert not (tmp_path / "data" / users.FILE).exists()


@pytest.mark.parametrize("name", ["agent", "operator", "unknown"])
def test_nobody_is_called_as_the_trail_calls_others(name):
    """What somebody named `agent` decided would stand in the trail as what nobody decided; so for tokens."""
    with pytest.raises(ValueError, match="is taken"):
        user(name=name)
    with pytest.raises(ValueError, match="is taken"):
        Token(name=name, sha256="0" * 64, scopes=(Scope.READ,))
