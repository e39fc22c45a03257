"""`make ignition`: the zips that Ignition 8.3 and 8.1 import, out of the one source tree, the same bytes every time."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE / "Gatepost"
TAGS: Final = HERE / "tags/gatepost.json"
PERSPECTIVE: Final = "com.inductiveautomation.perspective"
ONLY_8_3: Final = ("ignition/timer", f"{PERSPECTIVE}/auth-challenge")  # 8.1 keeps these elsewhere
SESSION_SCRIPTS: Final = f"{PERSPECTIVE}/session-scripts"
NO_EVENTS: Final = (
    "onStartup", "onShutdown", "onPageStartup", "onBarcodeDataReceived", "onBluetoothReceived",
    "onAccelerometerDataReceived", "onNdefDataReceived",
)  # fmt: skip


def tree() -> dict[str, bytes]:
    """Path in the project → content: what 8.3 imports."""
    files = sorted(one for one in PROJECT.rglob("*") if one.is_file())
    return {one.relative_to(PROJECT).as_posix(): one.read_bytes() for one in files}


def for_8_1(source: Mapping[str, bytes]) -> dict[str, bytes]:
    """The same for 8.1: session events in one file of their own form. The gateway's timer is made there by hand."""
    kept = {path: content for path, content in source.items() if not path.startswith(ONLY_8_3)}
    challenge = source[f"{PERSPECTIVE}/auth-challenge/onAuthChallengeCompleted.py"].decode()
    events: dict[str, Any] = dict.fromkeys(NO_EVENTS, "\t")
    scripts = {**events, "onAuthChallengeCompleted": _body(challenge), "messageHandlers": []}
    told = json.loads(source[f"{PERSPECTIVE}/page-config/resource.json"])
    kept[f"{SESSION_SCRIPTS}/data.bin"] = _json(scripts)
    kept[f"{SESSION_SCRIPTS}/resource.json"] = _json({**told, "files": ["data.bin"]})
    return kept


def _body(script: str) -> str:
    """A script without its first line, which is the header that 8.1 writes itself."""
    return script.partition("\n")[2].rstrip("\n")


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def write(target: Path, content: Mapping[str, bytes]) -> None:
    """A zip that depends on its content alone: sorted, no time, not compressed."""
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(content):
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[path])


def main(folder: Path) -> None:
    """Write both zips and the tags there."""
    folder.mkdir(parents=True, exist_ok=True)
    source = tree()
    for version, content in (("8.3", source), ("8.1", for_8_1(source))):
        write(folder / f"gatepost-ignition-{version}.zip", content)
    shutil.copyfile(TAGS, folder / "gatepost-tags.json")
    print(*sorted(str(one) for one in folder.iterdir()), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "build/ignition")
