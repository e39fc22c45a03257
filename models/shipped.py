"""What the trainers of the shipped models share: the key of the bench, and writing what passed.

The key is in build/keys, and made when there is none; the bench believes it once it has signed a model of this folder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoints
from models.training.pipeline import Trained

MODELS: Final = Path(__file__).parent
ROOT: Final = MODELS.parent


def key_of_the_bench() -> Ed25519PrivateKey:
    """The key that signs what is trained here; what is written elsewhere changes nothing that is committed."""
    path = ROOT / "build" / "keys" / "models.pem"
    path.parent.mkdir(parents=True, exist_ok=True)
    key = checkpoints.load_key(path)
    if destination().resolve() == MODELS.resolve():
        (ROOT / "edge_config" / "trust" / "models" / "bench.pub").write_bytes(path.with_suffix(".pub").read_bytes())
    return key


def destination() -> Path:
    """The folder of models that the command line names, or this one."""
    return Path(sys.argv[1]) if len(sys.argv) > 1 else MODELS


def write(made: Trained) -> None:
    """Sign and write what was trained, and print its figures."""
    folder = made.write(destination(), key_of_the_bench())
    for name, value in made.manifest.metrics.items():
        print(f"{name:32} {value:.4f}")
    print(f"written to {folder}")
