"""How far each controller is, in a small file: its totals survive the end of the process, however it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Progress:
    """One controller: lots that are over, what was shown of the next one, and what its totalisers have forgotten."""

    lots: int = 0
    scans: int = 0
    acknowledged: bool = False  # the reader has said that it has the lot, and has not yet taken that back
    forgotten: dict[str, int] = field(default_factory=dict)  # by totaliser: its count at its last reset


class ProgressFile:
    """Written before a scan is shown: no reader ever sees a total that a restart would take back."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._of: dict[str, Progress] = {}
        if path is not None and path.exists():
            kept: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            self._of = {center: Progress(**one) for center, one in kept.items()}

    def of(self, center: str) -> Progress:
        """The progress of one controller; whoever changes it calls `keep`."""
        return self._of.setdefault(center, Progress())

    def keep(self) -> None:
        """Put it on disk, as a whole or not at all. A power cut may take it back; a kill may not."""
        if self._path is None:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        fresh.write_text(json.dumps({center: asdict(one) for center, one in self._of.items()}), encoding="utf-8")
        fresh.replace(self._path)


class TruthFile:
    """What the ERP must have, a JSON line per report; begun anew at each start, from what the progress says."""

    def __init__(self, path: Path | None) -> None:
        self.reports = 0
        self._file = path.open("w", encoding="utf-8") if path is not None else None

    def meant(self, truths: tuple[Mapping[str, Any], ...]) -> None:
        """Note the reports of a lot."""
        self.reports += len(truths)
        if self._file is not None:
            self._file.writelines(json.dumps({**one, "misbehaviour": ""}) + "\n" for one in truths)
            self._file.flush()

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
