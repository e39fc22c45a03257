"""The agent's configuration as one bench runs it: a copy in the bench's folder, with its own ports and store."""

from __future__ import annotations

import re
from pathlib import Path

from simulators.scenario import Bench as Ports

LOOPBACK = ("broker", "erp_http", "api", "management", "opcua")  # what the agent connects to, or serves


def text_of(config: Path) -> str:
    """What it says, with the paths that are there made absolute. Raises OSError."""
    beside = config.resolve().parent

    def absolute(found: re.Match[str]) -> str:
        path = beside / found[2]
        return f"{found[1]}{path.resolve()}" if path.exists() else found[0]

    return re.sub(r"^( *\w+: )([\w./-]+)(?= |$)", absolute, config.read_text(encoding="utf-8"), flags=re.M)


def at_ports(config: Path, folder: Path, usual: Ports, ports: Ports) -> Path:
    """A copy, in `folder`, that has these ports in the place of the usual ones, and the bench's store and secrets.

    The file itself where it names none of the usual ones, or cannot be read: the agent says what is wrong with it.
    """
    try:
        text = text_of(config)
    except (OSError, UnicodeDecodeError):
        return config
    moved = {str(getattr(usual, name)): str(getattr(ports, name)) for name in LOOPBACK}
    known = "|".join(moved)
    found = re.sub(rf"(127\.0\.0\.1:)({known})\b", lambda one: one[1] + moved[one[2]], text)
    if found == text:
        return config
    found = re.sub(r"^(store:\n  path: )\S*?([\w.-]+\.db)", rf"\g<1>{folder}/\g<2>", found, flags=re.M)
    found = re.sub(r"^(secrets_dir: )\S+", rf"\g<1>{folder / 'secrets'}", found, flags=re.M)
    copy = folder / "agent.yaml"
    copy.write_text(f"# {config} at the ports of this bench\n{found}", encoding="utf-8")
    return copy
