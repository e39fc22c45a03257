"""The API under requests that nobody thought of: its own description generates them, and none is a server error."""

from __future__ import annotations

import asyncio
import os
import sys
from hashlib import sha256
from pathlib import Path

from tests.api_bench import bench
from tests.gateway_bench import RIGHTS, held, secrets, tokens

EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "8")  # per operation; by hand a hundred
PHASES = "fuzzing" if EXAMPLES == "8" else "examples,coverage,fuzzing"


async def test_no_request_is_a_server_error(tmp_path: Path):
    """Every operation gets what its description allows and what it does not; the agent answers, and lives on."""
    secrets(tmp_path)
    boss = {"name": "boss", "sha256": sha256(b"boss-secret").hexdigest(), "scopes": ["admin"]}
    api = {"tokens": [*tokens(), boss], "rate_per_second": 100_000}
    async with bench(tmp_path, api=api, rights=RIGHTS) as plant:
        for number in range(1, 4):
            await held(plant, f"fuzz-{number}", quantity=20 + number)
        described = tmp_path / "openapi.json"
        described.write_text((await plant.ask("GET", "/openapi.json", "boss")).text)
        fuzz = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"), "run", described, "--url", plant.url,
            "--header", "Authorization: Bearer boss-secret", "--checks", "not_a_server_error", "--phases", PHASES,
            "--max-examples", EXAMPLES, "--seed", "1", "--generation-database", "none", "--request-timeout", "60",
            "--no-color",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await fuzz.communicate()
        assert fuzz.returncode == 0, said.decode()[-4000:]
        assert (await plant.get("/v1/health", "boss"))["ready"]
