"""`python -m simulators.gateway`: the bench gateway for one project and one agent."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
from pathlib import Path

from simulators.gateway.gateway import Gateway, User
from simulators.gateway.server import Server

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m simulators.gateway", description=__doc__)
    parser.add_argument("--project", type=Path, default=ROOT / "ignition_project/Gatepost", help="the project's folder")
    parser.add_argument("--tags", type=Path, action="append", default=[], help="a tag export; repeat")
    parser.add_argument("--value", action="append", default=[], metavar="TAG=VALUE", help="of a tag of text; repeat")
    parser.add_argument("--port", type=int, default=18070)
    parser.add_argument(
        "--secret", action="append", default=[], metavar="NAME=FILE", help="a secret of the provider; repeat"
    )
    parser.add_argument("--user", action="append", default=[], metavar="NAME:First:Last:Role,Role", help="repeat")
    parser.add_argument("--password-file", type=Path, required=True, help="one password for all of them")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    password = options.password_file.read_text(encoding="utf-8").strip()
    users = [
        User(name, first, last, tuple(roles.split(",")), password)
        for name, first, last, roles in (one.split(":") for one in options.user)
    ]
    named = (one.partition("=") for one in options.secret)
    secrets = {name: Path(file).read_text(encoding="utf-8").strip() for name, _, file in named}
    gateway = Gateway(options.project, options.tags, users, secrets)
    for tag, _, value in (one.partition("=") for one in options.value):
        gateway.tags.write(tag, value)
    server = Server(gateway, options.port)
    gateway.start()
    server.start()
    logging.getLogger("gateway").info(
        "the bench gateway, which is not Ignition, is up on http://127.0.0.1:%d", options.port
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
