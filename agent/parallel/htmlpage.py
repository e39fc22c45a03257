"""The frame of the pages that commands write: one HTML file with everything inside, no script and no network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Final

STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b2a38; background: #fff; max-width: 1020px; margin: 32px auto;
  padding: 0 20px; }
h1 { font-size: 26px; margin-bottom: 0; }
h2 { font-size: 18px; margin: 34px 0 6px; }
p { max-width: 72ch; margin: 6px 0 12px; }
.side { display: grid; grid-template-columns: repeat(auto-fit, minmax(440px, 1fr)); gap: 28px; }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.figures div { border: 1px solid #c9d1d8; border-radius: 8px; padding: 10px 16px; flex: 1 1 130px; }
.figures b { display: block; font-size: 23px; }
.figures span, .quiet { color: #56646f; }
.figures span { font-size: 13px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid #e4e8eb; }
th:first-child, td:first-child { text-align: left; }
thead th { color: #56646f; font-weight: 600; font-size: 13px; vertical-align: bottom; }
.wide { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
td.text, th.text { text-align: left; }
.verdict { max-width: none; margin: 14px 0 18px; padding: 14px 18px; font-size: 17px; border-left: 5px solid #b7791f;
  border-radius: 6px; background: #fff6dc; }
.verdict.ready { border-color: #2e7d32; background: #e9f5ea; }
.warn { background: #fff2cc; }
.alarm { background: #f8d0c8; }
"""


def whole(title: str, told: Mapping[str, str], body: str) -> str:
    """The page; `told` are the lines below the title, `body` is HTML."""
    lines = "<br>".join(f"<b>{escape(name)}:</b> {escape(value)}" for name, value in told.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1><p class="quiet">{lines}</p>
{body}
</body></html>
"""


def figures(shown: Sequence[tuple[str, str]]) -> str:
    """Large numbers in a row, each with what it is."""
    boxes = "".join(f"<div><b>{escape(number)}</b><span>{escape(what)}</span></div>" for number, what in shown)
    return f'<div class="figures">{boxes}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: Collection[int] = ()) -> str:
    """A table of text; the first column is to the left, and those whose numbers are in `texts`: no figures."""

    def line(cells: Sequence[str], tag: str) -> str:
        told = (f"<{tag}{' class=text' * (at in texts)}>{escape(cell)}</{tag}>" for at, cell in enumerate(cells))
        return f"<tr>{''.join(told)}</tr>"

    cells, lines = line(head, "th"), "".join(line(row, "td") for row in rows)
    return f'<div class="wide"><table><thead>{cells}</thead><tbody>{lines}</tbody></table></div>'
