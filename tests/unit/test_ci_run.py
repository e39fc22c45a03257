"""What `.ci/run` says at its end, which is read by a machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    """`.ci/run` in a folder where `make` says what it is told to, and ends as it is told to."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "bin").mkdir()
    for program, script in ((".ci/need", "exit 0"), ("bin/make", 'printf "$SAY"; exit $CODE')):
        path = tmp_path / program
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def _run(said: str, code: int) -> tuple[int, list[str]]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            [tmp_path / ".ci" / "run"], env={"PATH": path, "SAY": said, "CODE": str(code)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout.splitlines()

    return _run


@pytest.mark.parametrize(
    ("said", "code", "last", "expected"),
    [
        ("5 passed in 0.10s\\n", 0, "5 passed, 0 failed, 0 skipped", 0),
        ("\\033[32m5 passed\\033[0m, 3 skipped, 6 deselected in 0.10s\\n", 0, "5 passed, 0 failed, 3 skipped", 0),
        ("1 failed, 5 passed, 2 errors in 0.10s\\n", 2, "5 passed, 3 failed, 0 skipped", 2),
        ("1 failed, 5 passed in 0.10s\\n", 0, "5 passed, 1 failed, 0 skipped", 1),
        ("no tests ran in 0.01s\\n", 0, "0 passed, 0 failed, 0 skipped", 1),
        ("3 skipped in 0.01s\\n", 0, "0 passed, 0 failed, 3 skipped", 1),
        ("E501 Line too long\\n", 2, "0 passed, 0 failed, 0 skipped", 2),
        ("", 0, "0 passed, 0 failed, 0 skipped", 1),
    ],
    ids=["good", "in-colour", "bad", "bad-with-code-0", "none", "all-skipped", "lint", "silent"],
)  # fmt: skip
def test_the_last_line_counts_and_the_code_agrees(run, said, code, last, expected):
    """Three numbers alone on the last line, whatever happened; code 0 only when tests ran and none failed."""
    found, lines = run(said, code)
    assert (lines[-1], found) == (last, expected)


def test_what_failed_stands_above_the_numbers(run):
    """Failures by name, then pytest's own summary, then the line."""
    _, lines = run("..F\\nFAILED a.py::b - no\\n1 failed, 2 passed in 0.10s\\n", 1)
    assert lines[-3:] == ["FAILED a.py::b - no", "1 failed, 2 passed in 0.10s", "2 passed, 1 failed, 0 skipped"]
