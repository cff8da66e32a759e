"""The timings: that they are taken in cold processes, of what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import make_encoder

from skelzoo.cli import main


def run(*args: object) -> list[list[str]]:
    result = CliRunner().invoke(main, ["bench", *map(str, args), "--runs", "1"])
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()[1:]]


def test_loading(tmp_path: Path) -> None:
    folder = make_encoder().save(tmp_path / "tiny")
    ((name, size, unit, load, *rest),) = run("load", f"local:{folder}")
    assert (name, size, unit) == (f"local:{folder}", "0.1", "MB") and 0 <= float(rest[4]) < float(load) < 60
    result = CliRunner().invoke(main, ["bench", "load", "local:nowhere"])
    assert result.exit_code == 1 and "there is no folder" in result.output


@pytest.mark.slow
def test_loading_what_the_package_holds() -> None:
    assert [row[0].rstrip(",") for row in run("load")][-1] == "skeattnclr-ntu60"


def test_importing() -> None:
    imported, listed = run("import")
    assert imported[:2] == ["import", "skelzoo"] and 0 < float(imported[2]) < 60 and listed[0] == "list_models()" and 0 < float(listed[1]) < 60
