"""Every relative link in every page leads to a file, and to a heading where it names one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ELSEWHERE = {".venv", "build", "var", "node_modules"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not ELSEWHERE.intersection(path.relative_to(ROOT).parts))
LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)\s*\)")
CODE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    """What the page links to in this repository, outside of code."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The names by which headings can be linked to, as forges make them."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page):
    """No page links to a file or a heading that is not there."""
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: no such heading"


def test_the_index_names_every_page_of_the_docs():
    """Whoever opens docs/index.md finds each page of the folder; single decisions have an index of their own."""
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in links(docs / "index.md")}
    linked |= {(docs / "adr" / link).resolve() for link in links(docs / "adr" / "README.md")}
    assert not [str(page.relative_to(ROOT)) for page in docs.rglob("*.md") if page not in linked | {docs / "index.md"}]
