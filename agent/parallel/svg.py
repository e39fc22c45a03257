"""Small charts as inline SVG: a page with them needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 460
HEIGHT: Final = 320
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 14, 44
INK: Final = "#1b2a38"
FAINT: Final = "#c9d1d8"
BLUE: Final = "#1f6feb"
ORANGE: Final = "#d1690e"


class Axis(NamedTuple):
    """From where to where, what it is called, and the places that are told."""

    low: float
    high: float
    text: str
    ticks: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    percent: bool = True

    def told(self, value: float) -> str:
        """The value as people read it."""
        return f"{value:.0%}" if self.percent else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points of the axes' units; `dots` shows them, their areas after `weights` where there are any."""

    points: Sequence[tuple[float, float]]
    colour: str = BLUE
    dashed: bool = False
    dots: bool = False
    weights: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A few words at a point, with a mark there."""

    x: float
    y: float
    text: str


def chart(name: str, across: Axis, up: Axis, lines: Sequence[Line], notes: Sequence[Note] = ()) -> str:
    """One chart as an ``<svg>`` element; `name` is what a screen reader says."""
    paint = _Paint(across, up)
    parts = [*paint.frame(), *(part for line in lines for part in paint.line(line))]
    parts += [part for note in notes for part in paint.note(note)]
    head = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(name)}">'
    )
    return "\n".join([head, *parts, "</svg>"])


class _Paint:
    """From the axes' units to places of the picture."""

    def __init__(self, across: Axis, up: Axis) -> None:
        self.across = across
        self.up = up

    def x(self, value: float) -> float:
        share = (value - self.across.low) / (self.across.high - self.across.low)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.up.low) / (self.up.high - self.up.low)
        return round(HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM), 1)

    def frame(self) -> list[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for tick in self.across.ticks:
            at = self.x(tick)
            parts.append(f'<line x1="{at}" y1="{TOP}" x2="{at}" y2="{bottom}" stroke="{FAINT}" stroke-width=".6"/>')
            parts.append(_text(at, bottom + 16, self.across.told(tick), "middle"))
        for tick in self.up.ticks:
            at = self.y(tick)
            parts.append(f'<line x1="{LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="{FAINT}" stroke-width=".6"/>')
            parts.append(_text(LEFT - 6, at + 4, self.up.told(tick), "end"))
        parts.append(_text((LEFT + right) / 2, HEIGHT - 8, self.across.text, "middle"))
        middle = (TOP + bottom) / 2
        parts.append(_text(14, middle, self.up.text, "middle", f' transform="rotate(-90 14 {middle})"'))
        return parts

    def line(self, line: Line) -> list[str]:
        places = [(self.x(x), self.y(y)) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts = [f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}/>']
        if line.dots:
            most = max(line.weights, default=1.0)
            sizes = [2.5 + 6 * (weight / most) ** 0.5 for weight in line.weights] or [3.0] * len(places)
            parts += [
                f'<circle cx="{x}" cy="{y}" r="{size:.1f}" fill="{line.colour}" fill-opacity=".75"/>'
                for (x, y), size in zip(places, sizes, strict=True)
            ]
        return parts

    def note(self, note: Note) -> list[str]:
        x, y = self.x(note.x), self.y(note.y)
        left = x > WIDTH / 2
        mark = f'<circle cx="{x}" cy="{y}" r="4.5" fill="{ORANGE}"/>'
        return [
            mark,
            _text(x - 8 if left else x + 8, y + 18, note.text, "end" if left else "start", ' font-weight="600"'),
        ]


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{INK}" font-size="12"{more}>{escape(words)}</text>'


def bars(name: str, up: str, stacks: Sequence[tuple[str, Sequence[float]]], parts: Sequence[tuple[str, str]]) -> str:
    """Stacked bars: (label, height of each part) from left to right; `parts` are (what, colour) from the bottom up."""
    most = max((sum(heights) for _, heights in stacks), default=0.0) or 1.0
    paint = _Paint(
        Axis(0, max(len(stacks), 1), "", (), percent=False), Axis(0, most, up, _round_ticks(most), percent=False)
    )
    drawn = paint.frame()
    every = max(1, -(-len(stacks) // 8))  # labels that find room
    for at, (label, heights) in enumerate(stacks):
        left, right, base = paint.x(at + 0.15), paint.x(at + 0.85), 0.0
        for height, (_, colour) in zip(heights, parts, strict=True):
            top, bottom = paint.y(base + height), paint.y(base)
            base += height
            if height:
                place = f'x="{left}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}"'
                drawn.append(f'<rect {place} fill="{colour}"/>')
        if at % every == 0:
            drawn.append(_text((left + right) / 2, HEIGHT - BOTTOM + 16, label, "middle"))
    for at, (what, colour) in enumerate(parts):
        x = LEFT + at * (WIDTH - LEFT - RIGHT) / max(len(parts), 1)
        drawn.append(f'<rect x="{x:.1f}" y="{HEIGHT - 16}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(x + 14, HEIGHT - 7, what, "start"))
    head = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(name)}">'
    )
    return "\n".join([head, *drawn, "</svg>"])


def _round_ticks(most: float) -> tuple[float, ...]:
    """At most six round numbers from 0 to `most`."""
    step = 10.0 ** (len(f"{most:.0f}") - 1)
    while most / step > 5:
        step *= 2
    while most / step < 2 and step > 1:
        step /= 2
    return tuple(step * at for at in range(int(most / step) + 1))
