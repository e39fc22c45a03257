"""The pictures of the views: each page in each size and theme, as large as it says, and small."""

from __future__ import annotations

import json
import struct
import zlib
from itertools import product
from pathlib import Path

from tests.palette import shrunk
from tests.pictures import LARGEST, SIZES, THEMES

PAGE = Path("docs/ignition/views.md").read_text()
PICTURES = Path("docs/pictures")
CONFIG = "ignition_project/Gatepost/com.inductiveautomation.perspective/page-config/config.json"


def test_every_page_of_the_project_is_shown_in_every_size_and_theme():
    """A page that is added without pictures is noticed; nobody commits a picture of another size."""
    pages = {
        one["viewPath"].rpartition("/")[2].lower() for one in json.loads(Path(CONFIG).read_text())["pages"].values()
    }
    assert len(pages) == 8
    for name, size, theme in product(pages, SIZES, THEMES):
        picture = PICTURES / f"ignition-{name}-{size}-{theme}.png"
        assert f"../pictures/{picture.name}" in PAGE, picture
        assert struct.unpack(">II", picture.read_bytes()[16:24]) == SIZES[size], picture
    assert [one.name for one in PICTURES.glob("ignition-*.png") if one.stat().st_size > LARGEST] == []


def test_a_picture_in_few_colours_is_the_same_picture():
    """What has no more than 256 colours loses nothing."""
    rows = b"".join(b"\x00" + bytes((y, y, 7)) for y in range(16))
    header = struct.pack(">IIBBBBB", 1, 16, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        png += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    small = shrunk(png)
    assert small[16:26] == struct.pack(">IIBB", 1, 16, 8, 3)
    at = small.index(b"PLTE")
    palette = small[at + 4 : at + 4 + 48]
    data = zlib.decompress(small[small.index(b"IDAT") + 4 : -16])
    assert [tuple(palette[3 * i : 3 * i + 3]) for i in data[1::2]] == [(y, y, 7) for y in range(16)]
