"""A small file that is there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def replace_durably(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a small file so that after a power cut either the old or the new content is there; `mode` before umask."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
