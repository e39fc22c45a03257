"""Numbers as people mistype them."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise


def transpositions(number: Decimal) -> Iterator[Decimal]:
    """The numbers that become this one when two neighbouring digits are swapped, as 21 becomes 12."""
    text = f"{number:f}"
    places = [at for at, letter in enumerate(text) if letter.isdigit()]
    for one, other in pairwise(places):
        if text[one] != text[other]:
            letters = list(text)
            letters[one], letters[other] = text[other], text[one]
            yield Decimal("".join(letters))


def plain(number: Decimal) -> str:
    """A number for people, without zeros that say nothing: 13.5310 and 13.531 are one."""
    return f"{number.normalize():f}"
