"""What the command line tells of itself and of models: pages of the documentation, what is known of a model, what a shell completes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

import skelzoo
from skelzoo.cli import main
from skelzoo.names import VERBS

ROOT = Path(__file__).resolve().parents[1]


def test_pages_are_listed_and_shown() -> None:
    pages, examples = (sorted(p.stem for p in ROOT.glob(pattern)) for pattern in ("docs/*.md", "examples/*.py"))
    rows = CliRunner().invoke(main, ["docs"]).stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["page", "README", *pages, *examples] and rows[2].endswith("  What was measured")


@pytest.mark.parametrize(
    ("page", "file"),
    [("bulk", "docs/bulk.md"), ("docs/files.md#tables", "docs/files.md"), ("readme", "README.md"), ("../examples/embed_ray.py", "examples/embed_ray.py")],
)
def test_a_page_is_found_as_links_name_it(page: str, file: str) -> None:
    assert CliRunner().invoke(main, ["docs", page]).stdout == (ROOT / file).read_text(encoding="utf-8") + "\n"


@pytest.mark.parametrize(("page", "hint"), [("blub", ""), ("bluk", "Did you mean bulk? "), ("camera.md", "Did you mean cameras? ")])
def test_unknown_pages_lead_to_near_ones(page: str, hint: str) -> None:
    unknown = CliRunner().invoke(main, ["docs", page])
    assert (unknown.exit_code, unknown.stderr) == (1, f"error: no page '{page}'. {hint}`skelzoo docs` lists the pages.\n")


def test_texts_name_pages_that_are_there_and_no_files_that_a_wheel_lacks() -> None:
    """Docstrings may name a file, but for those of the command line, which are its help."""
    named = set()
    for path in Path(skelzoo.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        named |= set(re.findall(r"skelzoo docs ([\w-]+)", text))
        nodes = list(ast.walk(ast.parse(text)))
        docstrings = set() if path.parent.name == "cli" else {node.value for node in nodes if isinstance(node, ast.Expr)}
        shown = [node.value for node in nodes if isinstance(node, ast.Constant) and node not in docstrings]
        assert [each for each in shown if isinstance(each, str) and re.search(r"docs/\w+\.md", each)] == [], path
    assert {"bulk", "evaluation", "files"} <= named <= {p.stem for p in (ROOT / "docs").glob("*.md")}


def test_info_begins_with_what_one_decides_by_and_ends_without_the_numbers_of_other_nets() -> None:
    def told(*words: str) -> list[str]:
        return CliRunner().invoke(main, ["info", *words]).stdout.splitlines()

    lines = told("psp-openskel-free")
    assert [line[2:12].strip() for line in lines[2:8]] == ["licence", "weights", "input", "vector", "classes", "trained on"] and len(lines) < 30
    assert "free for commercial use" in lines[2] and "kinect20 (20 joints), 3-D, 1 person, 48 frames" in lines[4] and lines[5].split()[1] == "18560"
    every = told("psp-openskel-free", "--metrics")
    numbers, shown = ([line for line in each if line.startswith("  metric  ")] for each in (every, lines))
    assert len(numbers) == len(skelzoo.info("psp-openskel-free")["metrics"]) and set(shown) < set(numbers)
    assert any("UTD-MHAD" in line and "linear: 94.2" in line for line in shown) and not any("baseline" in line or "random" in line for line in shown)
    assert f"{len(numbers) - len(shown)} more: skelzoo info psp-openskel-free --metrics" in "\n".join(lines)
    assert "66.3 (reported in the paper)" in "\n".join(told("skeattnclr-ntu120"))


def completed(*words: str) -> list[tuple[str, str]]:
    """Type and value of what is offered for the last word."""
    complete = ShellComplete(main, {}, "skelzoo", "_SKELZOO_COMPLETE")
    return [(item.type, item.value) for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["embed", "psp-openskel-f"], ["psp-openskel-free", "psp-openskel-free-2d"]),
        (["eval", "skeletonmae-g"], []),  # no weights
        (["info", "skeletonmae-g"], skelzoo.list_models("skeletonmae-g*")),
        (["convert", "a.pt", "--as", "psp-nw"], skelzoo.list_models("psp-nw*")),
        (["bench", "speed", "psp-openskel", "skeattnclr-openskel-k"], ["skeattnclr-openskel-kinect"]),
        (["layouts", "smp"], [name for name in skelzoo.list_layouts() if name.startswith("smp")]),
        (["read", "--layout", "ntu"], ["ntu25"]),
        (["docs", "b"], ["bulk"]),
    ],
)
def test_names_are_completed(words: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELZOO_HOME", str(tmp_path))
    assert completed(*words) == [("plain", name) for name in expected]


@pytest.mark.parametrize(
    "words", [["read"], ["embed", "psp-openskel"], ["classify", "psp-openskel", "a.bvh", "-o"], ["eval", "psp-openskel", "--data"], ["publish"]]
)
def test_paths_are_left_to_the_shell(words: list[str]) -> None:
    assert completed(*words, "ta") == [("file", "ta")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(([guess], f"No such command '{guess}'. Did you mean skelzoo {meant}?") for guess, meant in VERBS.items()),
        (["finetune", "m", "r", "--out", "o", "--lr", "1"], "No such option '--lr'. Did you mean --learning-rate?"),
        (["embed", "--model", "m"], "No such option '--model'. Give MODEL without it."),
        (["info", "--model", "m"], "No such option '--model'. Give NAME without it."),
        (["bench", "speed", "--model", "m"], "Give MODELS without it."),
        (["pretrain", "--model", "m"], "Give RECIPE without it."),
        (["list", "--model", "m"], "Give PATTERN without it."),
        (["convert", "a.pt", "--model", "m"], "Did you mean --as?"),
        (["pretrain", "--lr", "1"], "No such option '--lr'"),  # which it has under no name
    ],
)
def test_words_of_other_programs_lead_to_those_of_this_one(words: list[str], says: str) -> None:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and says in done.stderr and ("--learning-rate" in done.stderr) == ("--learning-rate" in says)
    assert set(VERBS.values()) <= {*main.commands, "--help", "--version"} and not set(VERBS) & set(main.commands)
