"""A picture of a screen in 256 colours: a third of the bytes, and nobody sees a difference.

Reads what browsers write (PNG, 8 bits, colour, with or without alpha, not interlaced) and writes an indexed PNG.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

HEAD = b"\x89PNG\r\n\x1a\n"
COLOURS = 256
Bytes = NDArray[np.uint8]


def shrunk(png: bytes) -> bytes:
    """The same picture with a palette. Raises ValueError for a PNG of another kind."""
    pixels = _pixels(png)
    height, width, _ = pixels.shape
    flat = pixels.reshape(-1, 3).astype(np.uint32)
    packed = flat[:, 0] << 16 | flat[:, 1] << 8 | flat[:, 2]
    colours, places, times = np.unique(packed, return_inverse=True, return_counts=True)
    kept = np.sort(colours[np.argsort(-times, kind="stable")[:COLOURS]])
    indexed = _nearest(colours, kept)[places.reshape(-1)].reshape(height, width)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), indexed], axis=1)
    palette = b"".join(int(one).to_bytes(3, "big") for one in kept)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return HEAD + b"".join(_chunk(name, content) for name, content in chunks)


def _nearest(colours: NDArray[np.uint32], kept: NDArray[np.uint32]) -> Bytes:
    """For each colour the place of the kept one that is nearest."""
    parts = [np.stack([one >> 16 & 255, one >> 8 & 255, one & 255], axis=1).astype(np.int32) for one in (colours, kept)]
    found = [((piece[:, None, :] - parts[1]) ** 2).sum(axis=2).argmin(axis=1) for piece in np.array_split(parts[0], 64)]
    return np.concatenate(found).astype(np.uint8)


def _pixels(png: bytes) -> Bytes:
    """Height × width × 3."""
    chunks = list(_chunks(png))
    width, height, depth, kind, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    if (depth, rest) != (8, [0, 0, 0]) or kind not in (2, 6):
        raise ValueError(f"a PNG of 8 bits in colour is wanted, not depth {depth}, kind {kind}")
    each = 3 if kind == 2 else 4
    raw = np.frombuffer(zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT")), np.uint8)
    lines = raw.reshape(height, 1 + width * each)
    before, found = np.zeros(width * each, np.uint8), []
    for line in lines:
        before = _unfiltered(int(line[0]), line[1:], before, each)
        found.append(before)
    pixels: Bytes = np.stack(found).reshape(height, width, each)[:, :, :3]
    return pixels


def _unfiltered(kind: int, line: Bytes, above: Bytes, each: int) -> Bytes:
    """One line as it was (PNG specification, section 9)."""
    if kind == 0:
        return line
    if kind == 2:
        return line + above  # modulo 256
    if kind == 1:
        whole: Bytes = np.cumsum(line.reshape(-1, each), axis=0, dtype=np.uint8).reshape(-1)
        return whole
    found = bytearray(line.tobytes())
    up = above.tobytes()
    for at in range(len(found)):
        left, corner = (found[at - each], up[at - each]) if at >= each else (0, 0)
        guess = (left + up[at]) // 2 if kind == 3 else _paeth(left, up[at], corner)
        found[at] = found[at] + guess & 255
    return np.frombuffer(bytes(found), np.uint8)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(HEAD)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
