"""What waits for the writer: who gives way to whom, and how much of it goes into one commit."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.store import queue
from agent.store.jobs import Entry
from agent.store.queue import A_JOB, LITTLE, MOST, QUICK_S, Queue

BULK = LITTLE + 1  # bytes: more than goes together


def entry(size: int = 0, *, gives_way: bool = False, took_s: float = 0.0) -> Entry:
    """A job of nothing."""
    return Entry(lambda tx: None, size, gives_way=gives_way, took_s=took_s)


def waiting(*entries: Entry, asked: bool = True) -> Queue:
    """A queue with these, in this order."""
    found = Queue()
    found.asked = lambda: asked
    for one in entries:
        found.add(one)
    return found


def places(entries: Sequence[Entry], taken: Sequence[Entry]) -> list[int]:
    """Where the taken ones stood."""
    return [next(at for at, one in enumerate(entries) if one is found) for found in taken]


def test_where_nobody_asks_everything_is_taken_as_it_came():
    """Also after a commit with what gives way, and however much it is."""
    entries = [entry(BULK, gives_way=True), entry(BULK, gives_way=True), entry(gives_way=True), entry()]
    jobs = waiting(*entries, asked=False)
    jobs.written([entry(gives_way=True, took_s=60)], 60)
    assert jobs.due_s == 0
    assert places(entries, jobs.take(arrivals=True)) == [0, 1, 2, 3]
    assert (len(jobs), jobs.bytes) == (0, 0)
    assert jobs.due_s is None


def test_what_gives_way_rests_after_it_was_written():
    """While somebody asks: as long as it took; what does not give way is taken meanwhile."""
    first, second, question = entry(gives_way=True, took_s=30), entry(gives_way=True), entry(100)
    jobs = waiting(second)
    jobs.written([first], 30)
    assert jobs.due_s is not None
    assert 0 < jobs.due_s <= queue.LONGEST_S
    assert jobs.take(arrivals=True) == []
    jobs.add(question)
    assert jobs.due_s == 0
    assert jobs.take(arrivals=True) == [question]
    assert list(jobs) == [second]


def test_its_turn_comes_also_while_somebody_goes_on_asking(monkeypatch: pytest.MonkeyPatch):
    """It rests for a time, not for as long as there are questions."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    later, question = entry(gives_way=True), entry(100)
    jobs = waiting(later, question)
    jobs.written([entry(gives_way=True, took_s=0.01)], 0.01)
    now[0] += 0.02
    assert jobs.take(arrivals=True) == [question, later]


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [((LITTLE, 1), 1), ((1, LITTLE, 1), 2), ((BULK,), 1), ((0,) * (LITTLE // A_JOB + 1), LITTLE // A_JOB)],
)
def test_little_of_what_gives_way_goes_together_while_somebody_asks(sizes: tuple[int, ...], taken: int):
    """At least one of them, and the others stay in their order."""
    entries = [entry(size, gives_way=True) for size in sizes]
    jobs = waiting(*entries)
    assert places(entries, jobs.take(arrivals=True)) == list(range(taken))
    assert places(entries, list(jobs)) == list(range(taken, len(entries)))
    assert jobs.bytes == sum(sizes[taken:])


@pytest.mark.parametrize(("flush_s", "times"), [(0.0, 1), (QUICK_S, 1), (3 * QUICK_S, 3), (60.0, MOST)])
def test_more_goes_together_where_flushes_are_slow(flush_s: float, times: int):
    """What the jobs themselves took does not count: it would grow by itself."""
    entries = [entry(LITTLE, gives_way=True) for _ in range(MOST + 1)]
    jobs = waiting(*entries)
    jobs.written([entry(100, took_s=5)], 5 + flush_s)
    assert len(jobs.take(arrivals=True)) == times


def test_what_gave_nothing_way_lets_nothing_rest():
    """A commit of questions alone costs the others no time."""
    later = entry(gives_way=True)
    jobs = waiting(later)
    jobs.written([entry(100, took_s=5)], 5)
    assert jobs.take(arrivals=True) == [later]


def test_arrivals_stay_where_the_disk_is_nearly_full():
    """Answers of an ERP and decisions go on."""
    entries = [entry(10), entry(), entry(10, gives_way=True), entry(gives_way=True)]
    jobs = waiting(*entries)
    assert places(entries, jobs.take(arrivals=False)) == [1, 3]
    assert (places(entries, list(jobs)), jobs.bytes) == ([0, 2], 20)


@given(st.lists(st.tuples(st.integers(0, BULK), st.booleans(), st.booleans()), max_size=40))
def test_nothing_is_lost_and_each_kind_keeps_its_order(steps: list[tuple[int, bool, bool]]):
    """Whatever comes, and whenever it is taken."""
    jobs, entries, taken = waiting(), list[Entry](), list[Entry]()
    for size, gives_way, take in steps:
        entries.append(entry(size, gives_way=gives_way))
        jobs.add(entries[-1])
        if take:
            taken += jobs.take(arrivals=size % 2 == 0)
    taken += jobs.take_all()
    assert sorted(places(entries, taken)) == list(range(len(entries)))
    assert (len(jobs), jobs.bytes) == (0, 0)
    for kind in ((True, True), (True, False), (False, True), (False, False)):
        of_it = [at for at in places(entries, taken) if (entries[at].size > 0, entries[at].gives_way) == kind]
        assert of_it == sorted(of_it)
