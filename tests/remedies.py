"""Takes remedies out of a copy of the product one by one and sees that their tests fail: `python -m tests.remedies`.

A fault test that stays green without the remedy proves nothing. `tests/remedies.yaml` lists each remedy as an edit that
removes it, with the tests that must fail then; words on the command line choose the remedies whose names contain them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".yaml")
LONGEST_S = 150  # a test that hangs without its remedy has failed, too


@dataclass(frozen=True, slots=True)
class Remedy:
    """What keeps a fault harmless: how it is taken out, and which tests notice."""

    name: str
    edits: tuple[Mapping[str, str], ...]  # file, take, put
    red: tuple[str, ...]


def remedies() -> list[Remedy]:
    """All of the list."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [Remedy(one["remedy"], tuple(one["edits"]), tuple(one["red"])) for one in listed]


def removed(remedy: Remedy, copy: Path) -> str:
    """Edit the copy; what hinders it, or nothing."""
    for edit in remedy.edits:
        path = copy / edit["file"]
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if text.count(edit["take"]) != 1:
            return f"{edit['file']} has {text.count(edit['take'])} times, not once: {edit['take'].splitlines()[0]}"
        path.write_text(text.replace(edit["take"], edit["put"]), encoding="utf-8")
    return ""


def stayed_green(remedy: Remedy, copy: Path) -> list[str]:
    """Run each test in the copy; those that do not fail."""
    return [wrong for test in remedy.red if (wrong := green(test, copy))]


def green(test: str, copy: Path) -> str:
    """What is wrong with a test that should fail in the copy; nothing where it does."""
    function, _, _ = test.partition("[")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", "-rfE", function]
    try:
        run = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        print(f"    hangs: {test}", flush=True)
        return ""
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    seen = next((line for line in failed if line.split(" ", 1)[1].startswith(test)), "")
    print(f"    {seen[:240]}", flush=True)
    if run.returncode not in (0, 1):
        return f"{test} did not run: {run.stdout[-300:]}{run.stderr[-300:]}"
    return "" if seen else f"{test} stayed green"


def copied(folder: Path) -> Path:
    """The files of the project as they are now, without what was built or measured."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def tried(chosen: Sequence[Remedy]) -> Iterator[str]:
    """Each remedy in a fresh copy; yields what is wrong."""
    for remedy in chosen:
        began = time.monotonic()
        print(remedy.name, flush=True)
        with tempfile.TemporaryDirectory(prefix="gatepost-remedy-") as folder:
            copy = copied(Path(folder))
            wrong = [stale] if (stale := removed(remedy, copy)) else stayed_green(remedy, copy)
        print(f"    {'; '.join(wrong) or 'seen to fail'} ({time.monotonic() - began:.0f} s)", flush=True)
        yield from (f"{remedy.name}: {one}" for one in wrong)


def main(words: Sequence[str]) -> int:
    """The number of tests that stayed green and of edits that no longer fit, at most 1."""
    chosen = [one for one in remedies() if not words or any(word in one.name for word in words)]
    wrong = list(tried(chosen))
    print(f"{len(chosen)} remedies taken out, {len(wrong)} findings", *wrong, sep="\n  ")
    return min(1, len(wrong) + (not chosen))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
