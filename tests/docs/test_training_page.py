"""The page about training: its columns file is read as it stands, and every key that there is stands on it."""

import re
from pathlib import Path

from models.training import columns, pipeline

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_columns_file_of_the_page_is_read(tmp_path):
    """Copied out of the page, without a change; it names the columns that the page says of its CSV, and no others."""
    found = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert found
    (tmp_path / "scrap.yaml").write_text(found[1], encoding="utf-8")
    read = columns.read(str(tmp_path / "scrap.yaml"))
    assert (read.target, read.time) == ("cause", "reported_at")
    told = re.search(r"`scrap.csv` has the columns (.*?), the answer", PAGE, re.DOTALL)
    assert told
    assert set(re.findall(r"`([a-z_]+)`", told[1])) == {name for name, _ in read.named()}
    assert list(read.numbers) == ["melt_temperature", "tool_used", "cycle_time"]


def test_every_key_and_learner_is_on_the_page():
    """With its default where it has one."""
    for model in (columns.Columns, columns.Number, columns.Category):
        for name in model.model_fields:
            assert re.search(rf"`{name}[`:]", PAGE), f"{name} is not on the page"
    for name in pipeline.TRIED:
        assert f"`{name}`" in PAGE
    for name in ("test_share", "learner", "right"):
        assert f"| `{name}` | `{columns.Columns.model_fields[name].default}` |" in PAGE
