"""Measure the models: every part's figures into ``build/evaluate.json``, its pages into ``build/evaluation/``.

python -m models.evaluation [--data FOLDER] [--only PART ...]

FOLDER holds public data sets, one folder each; without it the parts that have simulated data run on those. A set that
is not there is left out and said so. Measuring is no test: a goal that is not met is told, and nothing fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import Final

from models.evaluation.figures import Figure, table

BUILD: Final = Path("build")
PARTS: Final = {  # part → module with `measure(data, folder) -> list[Figure]`
    "steel": "models.evaluation.steel",
    "ai4i": "models.evaluation.ai4i",
    "scrap": "models.evaluation.scrap",
    "feasibility": "models.evaluation.feasibility",
    "shortage": "models.evaluation.shortage",
    "sequence": "models.evaluation.sequence",
    "scms": "models.evaluation.scms",
    "posting": "models.evaluation.posting",
    "consumption": "models.evaluation.consumption",
    "reconciliation": "models.evaluation.reconciliation",
    "backflush": "models.evaluation.backflush",
    "nab": "models.evaluation.nab",
}


def measure(part: str, data: Path | None, folder: Path) -> list[Figure]:
    """One part's figures, printed as they come."""
    started = time.monotonic()
    figures: list[Figure] = importlib.import_module(PARTS[part]).measure(data, folder)
    print(f"{part}: {time.monotonic() - started:.0f} s" + ("" if figures else ", no data"))
    print(table(figures), flush=True)
    return figures


def main() -> None:
    """Run the parts in order; what was measured is on disk after each."""
    wanted = argparse.ArgumentParser(prog="python -m models.evaluation")
    wanted.add_argument("--data", type=Path, help="folder with the public data sets")
    wanted.add_argument("--only", nargs="+", choices=sorted(PARTS), help="only these parts")
    asked = wanted.parse_args()
    if asked.data and not asked.data.is_dir():
        wanted.error(f"--data {asked.data}: there is no such folder")
    pages = BUILD / "evaluation"
    pages.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    for part in asked.only or PARTS:
        figures += measure(part, asked.data, pages)
        told = [one.record() for one in figures]
        (BUILD / "evaluate.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(figures)} figures in {BUILD / 'evaluate.json'}; {_verdict(figures)}")


def _verdict(figures: list[Figure]) -> str:
    goals = [one for one in figures if one.met is not None]
    missed = [one.name for one in goals if not one.met]
    if missed:
        return f"of {len(goals)} goals not met: {', '.join(missed)}"
    return f"all {len(goals)} goals met" if goals else "none of them has a goal"


if __name__ == "__main__":
    main()
