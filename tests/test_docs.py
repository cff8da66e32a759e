"""The docs and examples say and do what the code does."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import json
import pkgutil
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from test_house import LINES_OF_A_FILE, LINES_OF_A_FUNCTION, ROOMS
from tiny import make_clip, make_encoder

import skelzoo
from skelzoo import errors
from skelzoo.inference.export import preparation
from skelzoo.learn.finetune import FinetuneOptions
from skelzoo.skeleton.steps import STEPS
from skelzoo.weights.manifest import manifest, manifest_path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["layouts", "errors", "models", "speed", "finetuning"])
def test_written_pages_are_up_to_date(page: str) -> None:
    before = Path.cwd()
    assert (DOCS / f"{page}.md").read_text() == script(DOCS / f"make_{page}.py").text(), f"run: python docs/make_{page}.py"
    assert Path.cwd() == before


def test_every_error_is_shown() -> None:
    classes = {name for name, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.SkelzooError) and not c.__subclasses__()}
    assert set(re.findall(r"^\| .+? \| `(\w+)` \|", (DOCS / "errors.md").read_text(), re.M)) == classes


def test_layouts_answers_which_joint_is_number_seven() -> None:
    text = (DOCS / "layouts.md").read_text()
    for name in skelzoo.list_layouts():
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        numbers = re.findall(r"^\| (\d+) \| (\S+) \|", section, re.M)
        assert [(int(i), j) for i, j in numbers] == list(enumerate(skelzoo.get_layout(name).joints))


@pytest.mark.parametrize(("page", "least"), [("preparation.md", 3), ("files.md", 2), ("api.md", 2)])
@pytest.mark.usefixtures("own_archs")
def test_the_python_of_a_page_runs(page: str, least: int) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    assert len(blocks) >= least and sum(b.count("assert") for b in blocks) >= least
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)


def test_clips_are_prepared_for_exports_with_numpy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mixed, alone = (b for b in re.findall(r"^```python\n(.*?)^```", (DOCS / "export.md").read_text(), re.M | re.S) if "mix" in b)
    names: dict[str, Any] = {}
    exec(mixed + alone, names)
    clip = make_clip(3, frames=75, layout="uiprmd22")
    clip = clip.replace(keypoints=np.insert(clip.keypoints, [0, 30], 0, axis=1))
    contracts = [contract for name in manifest().pretrained if (contract := manifest().find(name).config.contract).channels == 3]
    for contract in contracts:
        x = names["prepare"](clip.keypoints[0], np.load("mix.npy"), json.loads(json.dumps(preparation(contract))))
        np.testing.assert_allclose(x, skelzoo.prepare(clip, contract), atol=2e-5)
    assert len(contracts) >= 9


def test_preparation_names_every_step_and_default() -> None:
    text = (DOCS / "preparation.md").read_text()
    assert set(re.findall(r"^ *\| `(\w+)` \|", text, re.M)) == set(STEPS)
    contract = skelzoo.Contract("kinect20", 3, 1, 8)
    assert f"`min_coverage` ({contract.min_coverage} by default)" in text.replace("\n   ", " ") and f"`min_frames` ({contract.min_frames} by default)" in text


def test_every_published_weight_has_its_licence_in_the_docs() -> None:
    text = (DOCS / "weights-licences.md").read_text()
    for name in manifest().pretrained:
        weights = manifest().find(name).weights
        assert weights is not None
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| {weights.license} | {'yes' if weights.commercial_use else 'no'} |" in row


def test_the_notice_names_every_bundled_model_under_its_licence() -> None:
    lines = re.findall(r"^- (not )?for commercial use.*, under (\S+) \(see (\S+)\): (.*)$", (ROOT / "NOTICE").read_text(), re.M)
    told = {name: (licence, not closed) for closed, licence, _, names in lines for name in names.split(", ")}
    weights = {name: e.weights for name, e in manifest().models.items() if e.weights and e.weights.source == "bundled"}
    assert told == {name: (w.license, w.commercial_use) for name, w in weights.items()} and len(told) == sum(len(n.split(", ")) for *_, n in lines)
    assert all((ROOT / file).is_file() for _, _, file, _ in lines)


def test_every_label_set_has_its_source_in_the_docs() -> None:
    sets = json.loads(manifest_path().read_text(encoding="utf-8"))["label_sets"]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([\d, ]+) \|", (DOCS / "labels.md").read_text(encoding="utf-8"), re.M)
    told = {name: int(size) for names, sizes in rows for name, size in zip(re.findall(r"\w+", names), sizes.split(","), strict=True)}
    assert told == {name: len(labels) for name, labels in sets.items()}


def test_numbers_of_heads_stand_where_a_tool_writes_them() -> None:
    """docs/accuracy.md has them from docs/results/heads.csv."""
    text = (DOCS / "labels.md").read_text(encoding="utf-8")
    assert "accuracy.md#heads" in text and re.findall(r"\d[\d.]* ?(?:%|percent|clips of that)", text) == []


def test_finetuning_names_every_option_and_its_default() -> None:
    text = (DOCS / "finetuning.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.M))
    assert rows == {f.name: repr(f.default) for f in dataclasses.fields(FinetuneOptions)}


@pytest.mark.parametrize("page", [DOCS / "supply.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md"])
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    written = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    assert len(named) >= 5 and [name for name in named if f"def {name}(" not in written] == []


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if not target.startswith(("http", "#")):
                assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_brackets_of_code_are_no_references(page: Path) -> None:
    """``mkdocs build --strict`` takes ``x[a][b]`` outside of code for a reference to b."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert re.findall(r".*[^\\]\]\[.*", text) == []


def test_the_navigation_lists_every_page() -> None:
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == sorted(p.name for p in DOCS.glob("*.md"))


def test_contributing_says_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert " <- ".join(ROOMS) in text and f"no file over {LINES_OF_A_FILE} lines, no function over {LINES_OF_A_FUNCTION}" in text
    files = re.findall(r"`((?:skelzoo|tests|docs|tools|\.ci)/[^`]*)`", text)
    assert len(files) > 20 and [f for f in files if not list(ROOT.glob(f))] == []


def test_the_first_page_has_the_lines_of_the_readme() -> None:
    lines = [re.findall(r"^## Ten lines\n\n```python\n(.*?)^```", path.read_text(), re.M | re.S) for path in (ROOT / "README.md", DOCS / "index.md")]
    assert len(lines[0]) == 1 and lines[0] == lines[1]


def test_the_api_page_has_every_public_name_once() -> None:
    assert sorted(re.findall(r"^::: skelzoo\.(\w+)$", (DOCS / "api.md").read_text(), re.M)) == sorted(skelzoo.__all__)


def test_functions_of_the_pages_have_the_arguments_that_they_describe() -> None:
    """``mkdocs build --strict`` refuses others, and several names in one entry."""
    named = [pkgutil.resolve_name(name) for page in DOCS.glob("*.md") for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)]
    functions = [f for f in named if inspect.isfunction(f)] + [f for c in named if inspect.isclass(c) for f in vars(c).values() if inspect.isfunction(f)]
    entries = [(f, re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(f) or "", re.M | re.S)) for f in functions]
    described = [(f, name) for f, entry in entries if entry for name in re.findall(r"^ {4}(\S[^:\n]*):", entry[1], re.M)]
    assert len(described) > 100
    assert [f"{f.__qualname__}: {name}" for f, name in described if name.lstrip("*") not in inspect.signature(f).parameters] == []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs an example with its words in ``tmp_path``, as ``python examples/NAME.py`` would, without another import of torch."""

    def run_example(name: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(ROOT / f"examples/{name}.py"), run_name="__main__")

    monkeypatch.chdir(tmp_path)
    return run_example


def test_example_embed_folder(run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = make_encoder()
    encoder.save(tmp_path / "tiny")
    (tmp_path / "takes").mkdir()
    clips = [make_clip(s, persons=1 + s, layout="ntu25") for s in range(3)]
    for clip in clips:
        skelzoo.save_clips(tmp_path / f"takes/{clip.name}.npz", [clip])
    (tmp_path / "takes/broken.bvh").write_text("HIERARCHY")
    run("embed_folder", "takes", "out.npz", "local:tiny")
    text = "".join(capsys.readouterr())
    assert "left out: takes/broken.bvh" in text and "3 clips, 16 numbers each" in text
    out = np.load(tmp_path / "out.npz")
    expected = encoder.embed([skelzoo.select_persons(c, 2) for c in clips])
    np.testing.assert_allclose(out["embeddings"], expected, atol=1e-5)
    assert len(out["names"]) == 3


@pytest.mark.filterwarnings("error")
def test_example_your_own_layout(run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_encoder().save(tmp_path / "tiny")
    run("your_own_layout", "local:tiny")
    text = "".join(capsys.readouterr())
    assert "mine -> kinect20: 80% of the joints measured" in text and "a vector of 16 numbers" in text and "sit" in text


def test_example_finetune_folder(run: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_encoder(labels=None).save(tmp_path / "tiny")
    script(ROOT / "examples/finetune_folder.py").make_recordings(tmp_path / "made-up")
    (tmp_path / "made-up/walk/broken.bvh").write_text("HIERARCHY")
    run("finetune_folder", "made-up", "mine", "local:tiny")
    text = "".join(capsys.readouterr())
    assert "left out: made-up/walk/broken.bvh" in text
    assert "linear: 32 clips of 4 classes" in text and "local:mine takes kick-0 for: " in text
    assert skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").labels == ("kick", "squat", "walk", "wave")


@pytest.mark.parametrize(
    ("example", "words", "said"),
    [
        ("embed_ray", [], "usage: python examples/embed_ray.py CLIPS OUT"),
        ("embed_torchrun", ["folder"], "usage: torchrun --nproc-per-node 8 examples/embed_torchrun.py FOLDER STORE"),
        ("finetune_folder", ["made-up", "mine", "nope"], "error: "),
    ],
)
def test_examples_end_in_one_line(example: str, words: list[str], said: str, run: Callable[..., None], tmp_path: Path) -> None:
    """Python prints the text that a SystemExit carries to stderr, and ends with code 1."""
    (tmp_path / "made-up").mkdir()
    with pytest.raises(SystemExit) as ended:
        run(example, *words)
    assert isinstance(ended.value.code, str) and ended.value.code.startswith(said)


def test_the_changelog_knows_this_version() -> None:
    assert f"## [{skelzoo.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_everything_that_is_installed_is_pinned_once() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x and not x.startswith("#")]
    pins = [re.fullmatch(r'([a-z0-9-]+)==([\w.]+)( ; python_version [<>=]+ "3\.11")?', line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if pin is None]
    found = [(pin[1], pin[3]) for pin in pins if pin]
    assert len(set(found)) == len(found) and "skelzoo" not in {name for name, _ in found}
    settings = (ROOT / "pyproject.toml").read_text().split("[project.optional-dependencies]")
    wanted = re.findall(r'"([A-Za-z][\w-]*)(?:\[\w+\])?[><=]=', settings[0].split("dependencies = ")[1] + settings[1].split("docs = ")[0])
    assert {w.lower().replace("_", "-") for w in wanted} <= {name for name, _ in found} and "torch" in wanted and "pytest" in wanted
