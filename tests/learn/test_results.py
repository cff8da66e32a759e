"""Rows of results in tables that are merged and read back."""

from __future__ import annotations

import csv
import dataclasses
import re
import subprocess
import warnings
from pathlib import Path

import pytest
from forked import SERVER

import skelzoo
from skelzoo.errors import ReadError
from skelzoo.learn.protocols import ALL
from skelzoo.learn.results import Row, merge_rows, read_rows, revision

ROOT = Path(__file__).resolve().parents[2]

ROW = Row("b", "nwucla", "knn", ALL, 61.25, 1.5, (0, 1), 10, 5, 3, "what, and how", "skelzoo eval b", "0123", "cpu")


def test_tables_are_merged_sorted_and_read_back(tmp_path: Path) -> None:
    table = tmp_path / "new/table.csv"
    other, few = (dataclasses.replace(ROW, **change, spread=None, seeds=()) for change in ({"model": "a, b"}, {"variant": "10 % of labels"}))
    assert read_rows(table) == []
    merge_rows(table, [ROW, other])
    assert read_rows(table) == [other, ROW]
    newer = dataclasses.replace(ROW, value=99.0, seeds=(3,), spread=None, precision="bf16-mixed", threads=2)
    with pytest.warns(UserWarning, match=r"b, nwucla, knn, all test clips was 61\.25 %, is 99 %\. .*path of its own"):
        merge_rows(table, [newer, few])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        merge_rows(table, [newer, few])
    assert read_rows(table) == [other, few, newer]
    assert table.read_text().splitlines()[0] == ",".join(f.name for f in dataclasses.fields(Row)) and {p.name for p in table.parent.iterdir()} == {
        table.name,
        f".{table.name}.lock",
    }


def test_tables_from_before_precision_and_threads_were_noted_are_read_and_merged(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    merge_rows(table, [ROW])
    table.write_text("".join(line.rpartition(",")[0].rpartition(",")[0] + "\n" for line in table.read_text().splitlines()))
    assert "threads" not in table.read_text() and read_rows(table) == [ROW]
    newer = dataclasses.replace(ROW, model="newer", precision="32-true", threads=4)
    merge_rows(table, [newer])
    assert read_rows(table) == [ROW, newer]


def merge_twenty(table: Path, name: str) -> None:
    for i in range(20):
        merge_rows(table, [dataclasses.replace(ROW, model=name, variant=str(i))])


def test_two_processes_lose_no_row_of_each_other(tmp_path: Path) -> None:
    workers = [SERVER.Process(target=merge_twenty, args=(tmp_path / "a.csv", name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(read_rows(tmp_path / "a.csv")) == 40


@pytest.mark.parametrize("text", ["model,value\na,1\n", "PK\x03\x04\n1,2", "cut"])
def test_what_is_no_table_is_left_alone(tmp_path: Path, text: str) -> None:
    table = tmp_path / "table.csv"
    if text == "cut":
        merge_rows(table, [ROW])
        text = table.read_text()[:-60]
    table.write_text(text)
    with pytest.raises(ReadError, match=re.escape(str(table)) + ".*not a table of results"):
        merge_rows(table, [ROW])
    assert table.read_text() == text


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    revision.cache_clear()
    found = revision()
    assert len(found.removesuffix("+")) >= 12 and head.startswith(found.removesuffix("+"))
    monkeypatch.setenv("PATH", "")
    assert revision() == found, "read once"
    revision.cache_clear()
    assert revision() == skelzoo.__version__
    revision.cache_clear()


def test_published_tables_name_commits_of_the_history() -> None:
    """So that the code that gave a number can be had."""
    git = ["git", "-C", str(ROOT)]
    if not (ROOT / ".git").exists() or subprocess.run([*git, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True).stdout != "false\n":
        pytest.skip("not a git checkout with its history")
    history = subprocess.run([*git, "rev-list", "HEAD"], capture_output=True, text=True, check=True).stdout.split()
    named: set[str] = set()
    for table in sorted((ROOT / "docs/results").glob("*.csv")):
        with table.open(newline="", encoding="utf-8") as file:
            named |= {row["commit"].removesuffix("+") for row in csv.DictReader(file)} - {skelzoo.__version__, ""}
    assert len(named) > 10 and [commit for commit in named if not any(each.startswith(commit) for each in history)] == []
