"""The door for faults: one sentence per connection on a loopback port, answered when it is over or refused.

`python -m simulators.opcua.control restart seconds=3` says one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from simulators.arguments import port_number
from simulators.opcua.faults import FAULTS, Fault, FaultError, Faults
from simulators.scenario import load

LONGEST_SENTENCE = 1000
DONE = "done"


@asynccontextmanager
async def door(port: int, faults: Faults) -> AsyncIterator[int]:
    """Listen until the block ends; the port, which is a free one for 0."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            sentence = (await reader.readline()).decode("utf-8", "replace")[:LONGEST_SENTENCE]
            await faults.strike(Fault.read(sentence))
            said = DONE
        except FaultError as refusal:
            said = str(refusal)
        writer.write(f"{said}\n".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
        yield int(server.sockets[0].getsockname()[1])


async def tell(port: int, sentence: str) -> str:
    """Say a sentence to a running server; `done`, or why not. Raises OSError where no server runs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{sentence}\n".encode())
    answer = (await reader.readline()).decode().strip()
    writer.close()
    return answer


def main(arguments: list[str] | None = None) -> int:
    """Do it and say so; 1 when it was refused or no server runs."""
    options = _parser().parse_args(arguments)
    try:
        answer = asyncio.run(tell(options.control, " ".join(options.fault)))
    except OSError as error:
        print(f"control: no server listens for faults on port {options.control} ({error})", file=sys.stderr)
        return 1
    print(answer)
    return 0 if answer == DONE else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulators.opcua.control",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Do something to the running server of the simulated line; it answers when it is over:\n\n"
        + "\n".join(f"  {name:<12}{what}" for name, what in FAULTS.items()),
    )
    parser.add_argument("fault", nargs="+", metavar="WORD", help="for example: restart seconds=3 decoys=2")
    parser.add_argument(
        "--control",
        type=port_number,
        default=load().bench.opcua_control,
        metavar="PORT",
        help="as the server printed it",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
