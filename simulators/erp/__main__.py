"""`python -m simulators.erp`: the simulated ERP as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

from simulators.erp.server import running


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulators.erp", description=__doc__)
    parser.add_argument("--http", type=int, default=0, metavar="PORT", help="0 picks a free port, which is printed")
    parser.add_argument("--https", type=int, metavar="PORT", help="also serve TLS with a certificate made at start")
    parser.add_argument("--tls-folder", type=Path, metavar="DIR", help="where ca.pem and client.pem are written")
    parser.add_argument("--user", default="", help="without a user anybody may come in")
    parser.add_argument("--password", default="")
    parser.add_argument("--password-env", metavar="NAME", help="read the password from this environment variable")
    parser.add_argument("--seed", type=int, default=0, help="of the faults that strike with a probability")
    parser.add_argument("--books", type=Path, metavar="FILE", help="append every document; read back at start")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="JSON list of fault rules")
    parser.add_argument("--dates", action="store_true", help="orders have planned starts and due dates, from now on")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, stop.set)
    password = os.environ[arguments.password_env] if arguments.password_env else arguments.password
    rules = json.loads(arguments.faults.read_text(encoding="utf-8")) if arguments.faults else []
    async with running(
        http=arguments.http,
        https=arguments.https,
        user=arguments.user,
        password=password,
        seed=arguments.seed,
        books=arguments.books,
        faults=rules["rules"] if isinstance(rules, dict) else rules,
        tls_folder=arguments.tls_folder,
        dates=arguments.dates,
    ) as server:
        print(f"simulated ERP at {server.base_url} {server.https_url}".rstrip(), flush=True)
        if server.certificates:
            print(f"certificate authority: {server.certificates.ca}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
