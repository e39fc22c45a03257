"""Numbers that are given to the simulators: each within its limits, with a sentence for what is not."""

from __future__ import annotations

from argparse import ArgumentTypeError
from math import isfinite


def not_negative(text: str) -> float:
    """A finite number that is not negative: a rate, a duration."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not isfinite(number) or number < 0:
        raise ArgumentTypeError(f"{text!r} is no number from 0 upward")
    return number


def how_many(text: str) -> int:
    """A whole number from 1 upward."""
    return _whole(text, 1, 2**31)


def port_number(text: str) -> int:
    """A TCP port, with room for six more above it."""
    return _whole(text, 1, 65529)


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
    return int(text)
