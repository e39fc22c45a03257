"""What a line takes of its materials, in quarters of an hour: shifts, breaks, product changes, breakdowns; seeded."""

from __future__ import annotations

from math import exp
from random import Random
from typing import Final

from agent.features.shortage_forecast import DAY, WEEK

HOUR: Final = DAY // 24
SHIFT_HOURS: Final = 8
FIRST_SHIFT: Final = 6  # o'clock
BREAKDOWN: Final = 0.008  # chance per slot that it begins
REPAIR: Final = 5  # slots, on average
CHANGE: Final = 0.03  # chance per slot of another product
CHANGE_SLOTS: Final = 2  # without use while it is set up
NOISE: Final = 0.15  # sigma of the log of one slot
DRIFT: Final = 0.04  # sigma of the log per week


def usage(seed: int, weeks: int) -> list[float]:
    """One material at one place from Monday, 0 o'clock, on; its size, shifts and products are drawn from the seed."""
    random = Random(f"usage/{seed}")
    size = exp(random.uniform(0, 6))
    shifts = random.randint(1, 3)
    saturday, sunday = random.random() < 0.5, shifts == 3 and random.random() < 0.3
    products = [random.uniform(0.3, 2.0) for _ in range(random.randint(1, 4))]
    found: list[float] = []
    product, stopped, level = random.choice(products), 0, 1.0
    for slot in range(weeks * WEEK):
        if slot % WEEK == 0:
            level *= exp(random.gauss(0, DRIFT))
        if not _works(slot, shifts, saturday=saturday, sunday=sunday):
            found.append(0.0)
            continue
        if stopped == 0 and random.random() < BREAKDOWN:
            stopped = 1 + int(random.expovariate(1 / REPAIR))
        elif stopped == 0 and len(products) > 1 and random.random() < CHANGE:
            product, stopped = random.choice(products), CHANGE_SLOTS
        if stopped:
            stopped -= 1
            found.append(0.0)
            continue
        pause = 0.5 if (slot % DAY - FIRST_SHIFT * HOUR) % (SHIFT_HOURS * HOUR) == SHIFT_HOURS * HOUR // 2 else 1.0
        found.append(round(size * level * product * pause * exp(random.gauss(0, NOISE)), 3))
    return found


def _works(slot: int, shifts: int, *, saturday: bool, sunday: bool) -> bool:
    day = slot // DAY % 7
    if (day == 5 and not saturday) or (day == 6 and not sunday):
        return False
    return shifts == 3 or 0 <= slot % DAY - FIRST_SHIFT * HOUR < shifts * SHIFT_HOURS * HOUR
