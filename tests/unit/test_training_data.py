"""Training data: a CSV and its columns file are read strictly, and what is wrong is told with file, line and column."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.features.row import names, row
from models.training import columns as columns_file
from models.training import split, table

COLUMNS = """target: defect
time: at
numbers:
  temperature: {unit: °C, text: melt temperature, least: 100, most: 400}
  pressure:
categories:
  machine: {text: machine}
ignore: [remark]
"""
HEAD = "at,machine,temperature,pressure,remark,defect\n"
GOOD = (
    "2026-11-20T06:00:00+01:00,M1,201.5,80,,burr\n"
    '2026-11-20T06:05:00+01:00,M2,,81,"late,\nshift",flash\n'
    "2026-11-20T06:10:00+01:00,,203,82,,burr\n"
)


def read(folder: Path, content: str | bytes, described: str = COLUMNS):
    """What becomes of a CSV and its columns file."""
    (folder / "columns.yaml").write_text(described, encoding="utf-8")
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / "data.csv").write_bytes(raw)
    return table.read(folder / "data.csv", columns_file.read(str(folder / "columns.yaml")))


def refusal(folder: Path, content: str | bytes, described: str = COLUMNS) -> str:
    """The findings, without the folder in front."""
    with pytest.raises(ConfigError) as refused:
        read(folder, content, described)
    return str(refused.value).replace(f"{folder}/", "")


def test_a_csv_becomes_rows(tmp_path):
    """Numbers, categories, times and the target; an empty cell is not known, a quoted cell may hold a line break."""
    data = read(tmp_path, HEAD + GOOD)
    assert data.rows == (
        {"temperature": 201.5, "pressure": 80.0, "machine": "M1"},
        {"temperature": None, "pressure": 81.0, "machine": "M2"},
        {"temperature": 203.0, "pressure": 82.0, "machine": None},
    )
    assert data.target == ("burr", "flash", "burr")
    assert [f"{at:%H:%M}" for at in data.times] == ["06:00", "06:05", "06:10"]
    assert len(data.sha256) == 64


def test_a_csv_of_a_spreadsheet_becomes_rows(tmp_path):
    """Semicolons, decimal commas, a byte order mark and a word for what is not known."""
    described = COLUMNS + "separator: ;\ndecimal: ','\nnull: [n/a]\n"
    text = (HEAD + GOOD.replace('"late,\nshift"', "late")).replace(",", ";").replace("201.5", "201,5")
    data = read(tmp_path, b"\xef\xbb\xbf" + text.replace("203", "n/a").encode(), described)
    assert [one["temperature"] for one in data.rows] == [201.5, None, None]


WRONG_CELLS = {
    "a decimal comma": ("201.5", '"201,5"', "data.csv:2: temperature: is no number; write 12.5, or say decimal: ','"),
    "thousands as programmers write them": ("201.5", "2_01", "data.csv:2: temperature: is no number; mend it"),
    "digits of another script": ("201.5", "٢٠١", "data.csv:2: temperature: is no number; mend it"),
    "a word": ("201.5", "hot", "data.csv:2: temperature: is no number; mend it"),
    "not a number": ("201.5", "NaN", "data.csv:2: temperature: is no number that a model can take"),
    "infinite": ("201.5", "1e400", "data.csv:2: temperature: is no number that a model can take"),
    "out of range": ("201.5", "20150", "data.csv:2: temperature: is outside of 100 to 400"),
    "no target": ("burr\n2026-11-20T06:05", "\n2026-11-20T06:05", "data.csv:2: defect: the target is empty"),
    "a machine of two lines": ("M1", '"M1\nand M2"', "data.csv:3: machine: is no word or code: a line break"),
    "a story as the answer": ("flash", "flash" * 20, "defect: is no word or code"),
    "a time of the shift": ("2026-11-20T06:10:00+01:00", "06:10", "data.csv:5: at: is no time"),
    "a time without zone": ("06:10:00+01:00", "06:10:00", "data.csv:5: at: some times have a zone and some have none"),
    "a cell too many": (",82,,", ",82,,,", "data.csv:5: has 7 cells where the first line names 6 columns"),
    "an open quote": (",82,,", ',82,"', "is no valid CSV"),
}


@pytest.mark.parametrize("name", WRONG_CELLS)
def test_a_wrong_cell_is_told_with_line_and_column(tmp_path, name):
    """The line is the one an editor shows, also behind a cell with a line break."""
    here, there, message = WRONG_CELLS[name]
    assert message in refusal(tmp_path, HEAD + GOOD.replace(here, there, 1))


WRONG_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "data.csv:1: is empty"),
    "an empty line first": ("\n" + HEAD + GOOD, "data.csv:1: is empty, or begins with an empty line"),
    "only a head": (HEAD, "data.csv:1: has no rows"),
    "a column missing": ((HEAD + GOOD).replace("pressure", "presure"), "data.csv:1: pressure: there is no such column"),
    "a column unnamed": ((HEAD + GOOD).replace("pressure", "presure"), "presure: is not in the columns file; add it"),
    "a name twice": (HEAD.replace("remark", "machine") + GOOD, "machine: this name stands twice"),
    "semicolons": ((HEAD + GOOD).replace(",", ";"), "has one column; say what stands between the cells"),
    "not UTF-8": ((HEAD + GOOD).replace("late", "spät").encode("latin-1"), "data.csv:3: is not UTF-8"),
    "not UTF-8 behind a byte order mark": (b"\xef\xbb\xbf" + HEAD.encode() + b"\xff", "UTF-8 (byte 0xff)"),
    "one class": ((HEAD + GOOD).replace("flash", "burr"), "defect: has the same value in every row"),
    "free text as the answer": (
        HEAD + "".join(f"2026-11-20T06:00:00Z,M1,201,80,,piece {at}\n" for at in range(60)),
        "defect: has 60 different values, at most 50 classes can be told; group them",
    ),
    "an empty column": (
        HEAD + GOOD.replace("201.5", "").replace("203", ""),
        "temperature: is empty in every row; move the column to ignore",
    ),
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_a_wrong_file_is_refused(tmp_path, name):
    """With what to do about it."""
    content, message = WRONG_FILES[name]
    assert message in refusal(tmp_path, content)


def test_identities_and_time_stamps_are_no_numbers_of_a_model(tmp_path):
    """Values that become the same in 32 bits would part rows in training and not in the plant."""
    rows = "".join(f"2026-11-20T06:00:00Z,M1,201,{1_800_000_000 + at},,{'ab'[at % 2]}\n" for at in range(100))
    assert "pressure: of 100 different values only 2 differ in the model's 32 bits" in refusal(tmp_path, HEAD + rows)


def test_a_thousand_wrong_cells_are_told_as_twenty(tmp_path):
    """And the reader is told that there may be more."""
    found = refusal(tmp_path, HEAD + "2026-11-20T06:00:00Z,M1,20150,80,,burr\n" * 1000).splitlines()
    assert len(found) == 21
    assert "reading stops after 20 findings" in found[-1]
    mixed = HEAD + ("2026-11-20T06:00:00Z,M1,x,80,,burr\n" + "2026-11-20T06:00:00Z,M1,201,80,,burr\n") * 500
    found = refusal(tmp_path, mixed).splitlines()
    assert [one.split(":")[1] for one in found] == [*map(str, range(2, 42, 2)), "40"]


@pytest.mark.parametrize(
    ("word", "todo"), [("C-01", "move it to categories or ignore"), ('"201,5"', "say decimal: ','")]
)
def test_a_column_of_words_among_the_numbers_is_told_once(tmp_path, word, todo):
    """It hides no other finding, wherever that stands."""
    rows = f"2026-11-20T06:00:00Z,M1,{word},80,,burr\n" * 99 + "2026-11-20T06:00:00Z,M1,201,high,,burr\n"
    shown = word.strip('"')
    assert refusal(tmp_path, HEAD + rows + f"2026-11-20T06:00:00Z,M1,{word},81,,flash\n").splitlines() == [
        f"data.csv:2: temperature: 100 of 101 cells are no number; {todo} ({shown})",
        "data.csv:101: pressure: is no number; mend it, leave it empty, or add the word to null (high)",
    ]


def test_an_empty_columns_file_is_sent_to_the_page(tmp_path):
    """The example is there, not beside the configuration of the agent."""
    assert "columns.yaml:1: is empty; an example is in docs/training.md" in refusal(tmp_path, HEAD + GOOD, "")


WRONG_COLUMNS = {
    "an unknown key": ("ignore:", "ignored:", "columns.yaml:8: ignored: unknown key; did you mean 'ignore'?"),
    "no target": ("target: defect\n", "", "target: is required"),
    "twice": ("[remark]", "[remark, machine]", "columns.yaml:8: ignore[1]: is named twice, also in categories.machine"),
    "a target that is an input": ("pressure:", "defect:", "numbers.defect: is named twice, also in target"),
    "limits": ("least: 100, most: 400", "least: 400, most: 100", "least 400 must be below most 100"),
    "a share": ("time: at", "time: at\ntest_share: 0.9", "test_share"),
    "a learner": ("time: at", "time: at\nlearner: deep", "learner"),
    "the same signs": ("time: at", "time: at\ndecimal: ','", "separator and decimal sign cannot be the same"),
}


@pytest.mark.parametrize("name", WRONG_COLUMNS)
def test_a_wrong_columns_file_is_refused(tmp_path, name):
    """As ``file:line: path: message``, like every other configuration."""
    here, there, message = WRONG_COLUMNS[name]
    assert message in refusal(tmp_path, HEAD + GOOD, COLUMNS.replace(here, there, 1))


def test_nothing_to_learn_from_is_refused(tmp_path):
    """A columns file without numbers and categories."""
    assert "names neither numbers nor categories" in refusal(tmp_path, HEAD + GOOD, "target: defect\n")


# ── from rows to features, and which rows are judged ────────────────────────────────────────────────────────


WORDS = st.text("abc=", max_size=3)


@given(
    st.dictionaries(WORDS, st.one_of(st.none(), WORDS)),
    st.dictionaries(WORDS, st.lists(WORDS, unique=True, max_size=3).map(tuple), max_size=3),
)
def test_a_category_is_at_most_one_of_its_values(values, categories):
    """What is unknown or absent is none of them; a row is as long as its names."""
    found = row(values, (), categories)
    assert len(found) == len(names((), categories))
    at = 0
    for name, known in categories.items():
        here = found[at : at + len(known)]
        assert sum(here) == (values.get(name) in known)
        at += len(known)


@given(st.lists(st.integers(0, 20), min_size=10, max_size=60), st.floats(0.1, 0.5))
def test_what_is_judged_is_later_than_what_is_learnt_from(times, share):
    """Also where many rows are of one moment; every row is on one side."""
    train, test = split.temporal(times, share)
    assert sorted([*train, *test]) == list(range(len(times)))
    if len(train) and len(test):
        assert max(times[at] for at in train) < min(times[at] for at in test)


def test_a_class_that_is_hardly_there_is_refused():
    """With how many rows it has and how many it needs; a class that is only judged as well."""
    with pytest.raises(ConfigError) as refused:
        split.check("data.csv", "defect", ["burr"] * 30 + ["crack"] * 3, ["burr", "flash"])
    first, second = str(refused.value).splitlines()
    assert first.startswith("data.csv:1: defect: has only 3 rows of this class to learn from, 10 are needed")
    assert first.endswith("(crack)")
    assert second.endswith("(flash)")
    split.check("data.csv", "defect", ["burr"] * 10, ["burr"])


def test_folds_are_always_the_same():
    """Whoever trains again gets the same model."""
    truth = np.arange(40) % 2
    once, again = list(split.folds(truth)), list(split.folds(truth))
    assert all((a[1] == b[1]).all() for a, b in zip(once, again, strict=True))
