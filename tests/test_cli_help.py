"""What the command line tells of itself: the pages of the documentation."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from click.testing import CliRunner

import skelzoo
from skelzoo.cli import main

ROOT = Path(__file__).resolve().parents[1]


def test_pages_are_listed_and_shown() -> None:
    pages = {p.stem: p.read_text(encoding="utf-8") for p in (ROOT / "docs").glob("*.md")}
    rows = CliRunner().invoke(main, ["docs"]).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["page", *sorted(pages)] and rows[1].endswith("  What was measured")
    assert CliRunner().invoke(main, ["docs", "bulk"]).stdout == pages["bulk"] + "\n"
    unknown = CliRunner().invoke(main, ["docs", "blub"])
    assert (unknown.exit_code, unknown.stderr) == (1, "error: no page 'blub'. `skelzoo docs` lists the pages.\n")


def test_texts_name_pages_that_are_there_and_no_files_that_a_wheel_lacks() -> None:
    """Docstrings may name a file, but for those of the command line, which are its help."""
    named = set()
    for path in Path(skelzoo.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"skelzoo docs ([\w-]+)", text))
        nodes = list(ast.walk(ast.parse(text)))
        docstrings = [] if path.parent.name == "cli" else [node.value for node in nodes if isinstance(node, ast.Expr)]
        shown = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in docstrings]
        assert [each for each in shown if isinstance(each, str) and re.search(r"docs/\w+\.md", each)] == [], path
    assert {"bulk", "evaluation", "preparation"} <= named <= {p.stem for p in (ROOT / "docs").glob("*.md")}
