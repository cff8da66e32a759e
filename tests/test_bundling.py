"""tools/bundle.py: what is said of bundled models comes from tables of results and recipes."""

from __future__ import annotations

import dataclasses
import importlib
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny import write_json

from skelzoo.learn.benchmarks import find_benchmark
from skelzoo.learn.corpus import corpus_named_by
from skelzoo.learn.head_rows import HELD_OUT, TOP1, said_of
from skelzoo.learn.protocols import ALL, WITHOUT_COPIES
from skelzoo.learn.recipe import Recipe, load_recipe, shipped_recipes
from skelzoo.learn.results import Row, merge_rows
from skelzoo.publishing import known_provenance
from skelzoo.weights.cards import CONFUSED, card
from skelzoo.weights.manifest import Metric, manifest

ROOT = Path(__file__).resolve().parents[1]

if not (ROOT / "tools/bundle.py").is_file():
    pytest.skip("not a source tree", allow_module_level=True)


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("bundle")


def test_readme_and_accuracy_page_are_what_the_tool_writes(bundle: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    bundle.write_tables()
    readme, page = ((tmp_path / path).read_text(encoding="utf-8") for path in ("README.md", "docs/accuracy.md"))
    assert (readme, page) == tuple((ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "docs/accuracy.md")), (
        "run: python tools/bundle.py --refresh"
    )
    assert "`skeletonmae-openskel-2d`.\n" in page and "| 85.3 | 10.0 | 100.0 | 2.1 |" in page, "below its twin; heads without a source"
    for name in manifest().pretrained:
        entry = manifest().models[name]
        value = {(m.dataset, m.protocol): m.value for m in entry.metrics}
        title = find_benchmark("nwucla" if entry.config.contract.channels == 3 else "nwucla-2d").title
        assert (
            f"| `{name}` | {value[title, 'linear']:.1f} ({value[title, 'linear, random weights']:.1f}) | {value[title, 'knn']:.1f} ({value[title, 'knn, random weights']:.1f}) |"
            in page
        )
        assert f"| `{name}` | {'**yes**' if entry.weights and entry.weights.commercial_use else 'no'}, " in readme


@pytest.mark.parametrize("name", [name for name, e in manifest().models.items() if e.weights and e.weights.source == "bundled"])
def test_the_card_is_what_the_tool_writes(name: str) -> None:
    entry = manifest().models[name]
    assert entry.weights is not None
    text = card(name, known_provenance(entry), entry.metrics, entry.weights.parameters, entry.config.labels or ())
    assert text == (ROOT / f"skelzoo/weights/bundled/{name}/README.md").read_text(encoding="utf-8"), "run: python tools/bundle.py --refresh"


def test_metrics_come_from_the_tables(bundle: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "RESULTS", tmp_path)
    own = Row("m", "nwucla", "knn", ALL, 61.249, None, (), 10, 5, 3, "what", "skelzoo eval m", "0123", "cpu")
    twin = dataclasses.replace(own, model="m (random weights)", command="skelzoo eval m --random-weights")
    base = dataclasses.replace(own, model="coordinates", variant=WITHOUT_COPIES, value=30.0, command="skelzoo eval coordinates")
    merge_rows(tmp_path / "nwucla.csv", [own, twin, base, dataclasses.replace(own, model="other")])
    merge_rows(tmp_path / "nwucla-2d.csv", [dataclasses.replace(own, benchmark="nwucla-2d")])
    title = find_benchmark("nwucla").title
    assert bundle.measured("m", 3) == [
        Metric(title, "knn", 61.2, "skelzoo eval m"),
        Metric(title, "knn, random weights", 61.2, "skelzoo eval m --random-weights"),
        Metric(f"{title}, without the copied test clips", "knn, coordinates baseline", 30.0, "skelzoo eval coordinates"),
    ]
    assert [m.dataset for m in bundle.measured("m", 2)] == [find_benchmark("nwucla-2d").title]
    with pytest.raises(SystemExit, match=r"no numbers of new\. Run skelzoo eval --all"):
        bundle.measured("new", 3)


def test_weights_of_benchmarks_are_not_published(bundle: ModuleType) -> None:
    for name, file in (("psp-openskel-ensemble-nwucla", "nw_ucla"), ("psp-ntu60", "ntu60")):
        with pytest.raises(SystemExit, match=rf"{name} trains on {file}\.npz: weights of it are not published"):
            importlib.import_module("provenance").provenance(load_recipe(name))


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if not name.endswith(("nwucla", "utdmhad", "ntu60"))])
def test_the_licence_follows_from_the_data(bundle: ModuleType, name: str) -> None:
    recipe = load_recipe(name)
    about = importlib.import_module("provenance").provenance(recipe)
    closed = "bandai_namco.npz" in recipe.data.files
    assert about.commercial_use is not closed and about.license == ("CC-BY-NC-4.0" if closed else "Apache-2.0")
    assert any("BY-NC" in data for data in about.trained_on) is closed and about.command == f"skelzoo pretrain {name} --data DATA --out RUN"
    assert ("filmed by simulated cameras" in about.summary) is (recipe.contract.layout == "coco17") is any("simulated cameras" in note for note in about.notes)
    if recipe.method == "skeletonmae":
        assert any("this project's own" in note and "temporal" in note for note in about.notes)
    published = manifest().models.get(name)
    if published and published.weights:
        assert (published.weights.license, published.weights.commercial_use) == (about.license, about.commercial_use)


def free_recipe(**changed: Any) -> Recipe:
    """The shipped one of data that is free for any use, with other entries."""
    return load_recipe({**load_recipe("skeattnclr-openskel-free").to_dict(), "name": "mine", **changed})


def free_data(**changed: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(load_recipe("skeattnclr-openskel-free").data), **changed}


@pytest.mark.parametrize(("start", "licence"), [("skeattnclr-openskel-free", "Apache-2.0"), ("skeattnclr-openskel", "CC-BY-NC-4.0")])
def test_the_licence_follows_from_the_weights_that_training_starts_from(bundle: ModuleType, start: str, licence: str) -> None:
    before = manifest().models[start].weights
    about = bundle.provenance(free_recipe(start=start))
    assert before is not None and (about.license, about.commercial_use) == (licence, licence == "Apache-2.0") == (before.license, before.commercial_use)
    assert set(before.trained_on) == set(about.trained_on) and f"Training started from the weights of `{start}`." in about.notes
    assert ("free for any use" in about.summary) is about.commercial_use and "exercises and locomotion" in about.summary


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"start": "local:mine"}, r"mine starts from local:mine, whose licence the manifest does not know"),
        ({"start": "skeattnclr-ntu60"}, r"mine starts from skeattnclr-ntu60, whose licence"),
        ({"method": "simsiam"}, r"mine: nobody has said what a card tells of simsiam with skeattnclr-stgcn\. Add a row to DESCRIBED in tools/provenance\.py"),
        ({"arch": "skeattnclr-bigru", "options": {}}, "what a card tells of skeattnclr with skeattnclr-bigru"),
        ({"data": free_data(held_out={})}, r"mine holds out \{\}, and openskel-free .*'subjects': \[9, 10\]"),
        ({"data": free_data(files=["uiprmd_kinect.npz"], held_out={})}, r"mine trains on uiprmd_kinect\.npz, neither all of openskel nor of openskel-free"),
    ],
)
def test_what_the_tool_has_no_words_for_is_said_before_anything_is_measured(
    bundle: ModuleType, changed: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "recipe.json", free_recipe(**changed).to_dict())
    monkeypatch.setattr(bundle.skelzoo, "load", lambda *_: pytest.fail("the weights were loaded"))
    with pytest.raises(SystemExit, match=says):
        bundle.bundle_run(tmp_path, "data")


def test_options_at_their_defaults_are_described_too(bundle: ModuleType) -> None:
    notes = bundle.provenance(free_recipe(options={})).notes
    assert any("the vector is mean over time of the features after blocks 9" in note for note in notes)
    assert not any("Narrower" in note or "four stretches" in note for note in notes)


@pytest.mark.parametrize("shipped", ["skeattnclr-openskel", "skeattnclr-openskel-free"])
def test_numbers_of_the_head_name_the_corpus_and_not_the_model(bundle: ModuleType, shipped: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "RESULTS", tmp_path)
    corpus = corpus_named_by(load_recipe(shipped).data.files)
    assert corpus == shipped.removeprefix("skeattnclr-")
    row = Row("mine", corpus, TOP1, HELD_OUT, 85.714, None, (), 9, 7, 2, "what", "skelzoo eval mine", "0123", "cpu")
    taken, often = (dataclasses.replace(row, protocol=f"{CONFUSED}{other}", variant="walk", value=100 * n / 7) for other, n in (("run", 1), ("sit", 3)))
    part = dataclasses.replace(row, variant=said_of("source a.npz"), test_clips=3)
    merge_rows(tmp_path / "heads.csv", [taken, often, part, row, dataclasses.replace(row, model="other")])
    assert bundle.head_metrics("mine") == [
        Metric(f"{corpus}, 7 held-out clips, 2 classes", "head, top-1", 85.7, "skelzoo eval mine"),
        Metric(f"{corpus}, 3 clips, without source a.npz", "head, top-1", 85.7, "skelzoo eval mine"),
        Metric("walk", f"{CONFUSED}sit", 3, "skelzoo eval mine"),
        Metric("walk", f"{CONFUSED}run", 1, "skelzoo eval mine"),
    ]


@pytest.mark.parametrize("name", manifest().pretrained)
def test_numbers_of_a_model_stand_in_the_tables(bundle: ModuleType, name: str) -> None:
    entry = manifest().models[name]
    given = [m for m in entry.metrics if m.source != "reported in the paper"]
    assert given == [*bundle.head_metrics(name), *bundle.measured(name, entry.config.contract.channels)]
    assert bool(entry.config.labels) == any(m.protocol == TOP1 for m in given)
