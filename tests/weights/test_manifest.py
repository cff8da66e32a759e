"""The manifest: the shipped one follows its schema, a broken one is refused, names are found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import jsonschema
import pytest
from hypothesis import given, settings
from tiny import make_config, make_encoder

import skelzoo
from skelzoo.errors import CheckpointError, ManifestError, UnknownModelError
from skelzoo.weights import entries
from skelzoo.weights import manifest as manifest_module
from skelzoo.weights.cards import Provenance
from skelzoo.weights.manifest import manifest, manifest_path, parse_manifest
from skelzoo.weights.places import bundled_folder

SCHEMA = json.loads(resources.files("skelzoo.weights").joinpath("manifest.schema.json").read_text())
SHIPPED = json.loads(manifest_path().read_text())
WEIGHTS = {
    "source": "bundled", "license": "CC0-1.0", "license_reason": "Made up.", "commercial_use": True, "parameters": 3,
    "files": {"model.safetensors": {"size": 1, "sha256": "0" * 64}}, "trained_on": ["nothing"], "command": "none",
}  # fmt: skip


def model(weights: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    metric = {"dataset": "none", "protocol": "none", "value": 50.0, "source": "reported in the paper"}
    return {"family": "Tiny", "summary": "Tiny.", "config": make_config().to_dict(), "weights": weights, "metrics": [metric], "notes": ["n"], **changes}


def rows() -> dict[str, Any]:
    """tiny-b names its labels and contract, the others give them in full."""
    config = make_config().to_dict()
    data = {
        "schema_version": 1,
        "label_sets": {"postures": config["labels"], "nobody": ["uses", "these"]},
        "contracts": {"kinect": config["contract"]},
        "models": {
            "tiny-a": model(WEIGHTS),
            "tiny-b": model(config={**config, "labels": "postures", "contract": "kinect"}),
            "other-a": model({**WEIGHTS, "source": "hf:o/r@" + "0" * 40}, family="Other"),
        },
        "aliases": {"tiny": "tiny-a"},
    }
    return copy.deepcopy(data)


@pytest.fixture
def own_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "weights_manifest.json"
    path.write_text(json.dumps(rows()))
    for module in (manifest_module, entries):
        monkeypatch.setattr(module, "manifest_path", lambda: path)
    manifest.cache_clear()
    yield path
    manifest.cache_clear()


def follows_schema(data: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(data))


def test_the_schema_is_a_schema_and_the_shipped_manifest_follows_it() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(SHIPPED)
    jsonschema.Draft202012Validator(SCHEMA).validate(rows())
    assert list(manifest().models) == list(SHIPPED["models"])


@pytest.mark.parametrize("name", [n for n, row in SHIPPED["models"].items() if row["weights"]])
def test_every_shipped_weight_gives_its_golden(name: str) -> None:
    weights = manifest().find(name).weights
    assert weights is not None and {"model.safetensors", "config.json", "golden.safetensors", "README.md"} <= set(weights.files)
    result = skelzoo.verify(name, device="cpu")
    assert result.ok, result.differences
    if weights.source == "bundled":
        assert {p.name for p in bundled_folder(name).iterdir()} - {"checksums.json"} == set(weights.files)


Change = Callable[[dict[str, Any]], object]
BROKEN: dict[str, Change] = {
    "no version": lambda m: m.pop("schema_version"),
    "version of another type": lambda m: m.update(schema_version=True),
    "version as text": lambda m: m.update(schema_version="1"),
    "no models": lambda m: m.pop("models"),
    "models as a list": lambda m: m.update(models=[]),
    "no aliases": lambda m: m.pop("aliases"),
    "no label sets": lambda m: m.pop("label_sets"),
    "label sets as a list": lambda m: m.update(label_sets=[]),
    "a label set is text": lambda m: m["label_sets"].update(nobody="uses"),
    "a label is a number": lambda m: m["label_sets"].update(nobody=[3]),
    "no contracts": lambda m: m.pop("contracts"),
    "a shared contract is null": lambda m: m["contracts"].update(x=None),
    "a shared contract that nobody uses lacks its layout": lambda m: m["contracts"].update(x={"channels": 3, "persons": 1, "frames": 8}),
    "unknown key": lambda m: m.update(extra=1),
    "alias is a number": lambda m: m["aliases"].update(tiny=3),
    "entry is null": lambda m: m["models"].update(x=None),
    "entry lacks a key": lambda m: m["models"]["tiny-a"].pop("family"),
    "entry has an unknown key": lambda m: m["models"]["tiny-a"].update(extra=1),
    "summary is a number": lambda m: m["models"]["tiny-a"].update(summary=3),
    "weights is false": lambda m: m["models"]["tiny-b"].update(weights=False),
    "notes is text": lambda m: m["models"]["tiny-a"].update(notes="n"),
    "a note is a number": lambda m: m["models"]["tiny-a"].update(notes=[3]),
    "metric lacks its source": lambda m: m["models"]["tiny-a"]["metrics"][0].pop("source"),
    "metric has more": lambda m: m["models"]["tiny-a"]["metrics"][0].update(extra=1),
    "metric is text": lambda m: m["models"]["tiny-a"]["metrics"][0].update(value="50"),
    "metrics hold null": lambda m: m["models"]["tiny-a"].update(metrics=[None]),
    "no licence": lambda m: m["models"]["tiny-a"]["weights"].pop("license"),
    "commercial use is text": lambda m: m["models"]["tiny-a"]["weights"].update(commercial_use="no"),
    "parameters is text": lambda m: m["models"]["tiny-a"]["weights"].update(parameters="3"),
    "trained_on is text": lambda m: m["models"]["tiny-a"]["weights"].update(trained_on="nothing"),
    "trained_on holds null": lambda m: m["models"]["tiny-a"]["weights"].update(trained_on=[None]),
    "source is a branch": lambda m: m["models"]["tiny-a"]["weights"].update(source="hf:o/r@main"),
    "source goes on after its commit": lambda m: m["models"]["tiny-a"]["weights"].update(source=f"hf:o/r@{'0' * 40}/x"),
    "source is an address": lambda m: m["models"]["tiny-a"]["weights"].update(source="elsewhere"),
    "files is a list": lambda m: m["models"]["tiny-a"]["weights"].update(files=[]),
    "file without a hash": lambda m: m["models"]["tiny-a"]["weights"]["files"]["model.safetensors"].pop("sha256"),
    "file with a short hash": lambda m: m["models"]["tiny-a"]["weights"]["files"]["model.safetensors"].update(sha256="0" * 63),
    "file with a hash in capitals": lambda m: m["models"]["tiny-a"]["weights"]["files"]["model.safetensors"].update(sha256="A" * 64),
    "file of negative size": lambda m: m["models"]["tiny-a"]["weights"]["files"]["model.safetensors"].update(size=-1),
    "file with more": lambda m: m["models"]["tiny-a"]["weights"]["files"]["model.safetensors"].update(extra=1),
    "config lacks its arch": lambda m: m["models"]["tiny-a"]["config"].pop("arch"),
    "config has more": lambda m: m["models"]["tiny-a"]["config"].update(extra=1),
    "config of another format": lambda m: m["models"]["tiny-a"]["config"].update(format=2),
    "config with negative classes": lambda m: m["models"]["tiny-a"]["config"].update(num_classes=-1, labels=None),
    "contract with no frames": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(frames=0),
    "contract with more": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(extra=1),
    "contract of one coordinate": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(channels=1),
    "contract of an unknown stream": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(streams=["velocity"]),
    "step without a name": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(steps=[{}]),
    "step is text": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(steps=["yaw"]),
}  # fmt: skip
BEYOND_THE_SCHEMA: dict[str, Change] = {
    "another version": lambda m: m.update(schema_version=2),
    "alias to nowhere": lambda m: m["aliases"].update(tiny="tiny-c"),
    "alias hides a model": lambda m: m["aliases"].update({"tiny-b": "tiny-a"}),
    "unknown layout": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(layout="kinect21"),
    "unknown step": lambda m: m["models"]["tiny-a"]["config"]["contract"].update(steps=[{"step": "fly"}]),
    "labels do not fit": lambda m: m["models"]["tiny-a"]["config"].update(labels=["a"]),
    "shared labels do not fit": lambda m: m["models"]["tiny-b"]["config"].update(labels="nobody"),
    "labels of an unknown name": lambda m: m["models"]["tiny-b"]["config"].update(labels="posture"),
    "a contract of an unknown name": lambda m: m["models"]["tiny-b"]["config"].update(contract="postures"),
    "unknown layout in a shared contract": lambda m: m["contracts"]["kinect"].update(layout="kinect21"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_what_the_schema_refuses_the_parser_refuses(change: Change) -> None:
    data = rows()
    change(data)
    assert not follows_schema(data)
    with pytest.raises(ManifestError, match=r"^here"):
        parse_manifest(json.dumps(data), "here")


@pytest.mark.parametrize("change", BEYOND_THE_SCHEMA.values(), ids=BEYOND_THE_SCHEMA)
def test_what_no_schema_can_say_is_refused_too(change: Change) -> None:
    data = rows()
    change(data)
    with pytest.raises(ManifestError, match=r"^here"):
        parse_manifest(json.dumps(data), "here")


@pytest.mark.parametrize("text", ["", "{", "3", "null", "[]", '"x"', "[" * 100_000, '{"schema_version": 1' + "0" * 5000 + "}", "\ud800"])
def test_texts_that_are_no_manifest(text: str) -> None:
    with pytest.raises(ManifestError, match=r"^here"):
        parse_manifest(text, "here")


def parses(data: Any) -> bool:
    try:
        parse_manifest(json.dumps(data), "here")
    except ManifestError:
        return False
    return True


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["bundled", "kinect20", "resample", "joint", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.sampled_from(["step", "frames", "size", "sha256", "labels"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(json_values)
def test_any_json_is_a_manifest_or_a_manifest_error(data: Any) -> None:
    assert parses(data) <= follows_schema(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_manifest_with_any_value_replaced(data: st.DataObject) -> None:
    """Either it parses, and then the schema agrees, or it is a ManifestError."""
    mutated = rows()
    *path, last = data.draw(st.sampled_from(list(places(mutated))[1:]))
    inner = mutated
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(json_values)
    assert parses(mutated) <= follows_schema(mutated)


def test_a_valid_manifest_parses() -> None:
    parsed = parse_manifest(json.dumps(rows()))
    assert parsed.pretrained == ["tiny-a", "other-a"] and parsed.find("tiny") is parsed.models["tiny-a"]
    assert parsed.models["tiny-a"].config == parsed.models["tiny-b"].config == make_config() and parsed.models["tiny-b"].weights is None


def test_an_unknown_shared_part_comes_with_the_known_ones() -> None:
    data = rows()
    data["models"]["tiny-b"]["config"]["labels"] = "posture"
    with pytest.raises(ManifestError, match=r"here, model tiny-b: labels 'posture' is not one of the label_sets, which are postures, nobody"):
        parse_manifest(json.dumps(data), "here")


def test_a_bundled_model_leaves_the_rest_of_the_manifest_as_it_was(own_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """References stay references, in the entry's neighbours and in the file's shared parts."""
    monkeypatch.setattr(entries, "__file__", str(tmp_path / "weights/entries.py"))
    provenance = Provenance("Tiny", "Tiny.", "CC0-1.0", "Made up.", True, ["nothing"], "none")
    metric = manifest_module.Metric("none", "none", 50.0, "none")
    source = make_encoder().save(tmp_path / "source")
    assert entries.bundle(source, "tiny-a", provenance, [metric], 3) == tmp_path / "weights/bundled/tiny-a"
    before, after = rows(), json.loads(own_manifest.read_text())
    new = after["models"].pop("tiny-a")
    assert before["models"].pop("tiny-a")["config"] == new["config"] and after == before
    assert manifest().find("tiny-a").config == manifest().find("tiny-b").config


def test_list_models(own_manifest: Path) -> None:
    assert skelzoo.list_models() == ["other-a", "tiny-a", "tiny-b"]
    assert skelzoo.list_models("tiny*") == ["tiny-a", "tiny-b"] and skelzoo.list_models("*-a", pretrained=True) == ["other-a", "tiny-a"]
    assert skelzoo.list_models("TINY*") == [] == skelzoo.list_models("ti?y") and skelzoo.list_models("ny-") == ["tiny-a", "tiny-b"]
    assert skelzoo.list_models("tiny-a") == ["tiny-a"] and skelzoo.list_models("TINY") == ["tiny-a", "tiny-b"]


def test_info_is_plain_json_and_all_of_the_entry(own_manifest: Path) -> None:
    for name, row in rows()["models"].items():
        told = json.loads(json.dumps(skelzoo.info(name)))
        assert told == {"name": name, **row, "config": make_config().to_dict(), "registered": None, "card": None}
    assert skelzoo.info("tiny") == skelzoo.info("tiny-a")


def test_unknown_names_come_with_near_ones(own_manifest: Path) -> None:
    for function in (skelzoo.info, skelzoo.load, skelzoo.verify):
        with pytest.raises(UnknownModelError, match=r"no model 'tiny-c'\. Did you mean tiny-.*local:tiny-c"):
            function("tiny-c")
    with pytest.raises(UnknownModelError, match=r"Models with weights: tiny-a, other-a"):
        skelzoo.load("zzz")


def test_broken_configs_of_labels() -> None:
    with pytest.raises(CheckpointError, match="1 labels for a head of 3"):
        manifest_module.ModelConfig("skeattnclr-stgcn", {}, make_config().contract, 3, ("a",))


def test_a_manifest_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "__file__", str(tmp_path / "skelzoo/weights/manifest.py"))
    with pytest.raises(ManifestError, match="neither in"):
        manifest_path()
    (tmp_path / "weights_manifest.json").write_text("{}")
    assert manifest_path() == tmp_path / "weights_manifest.json"
    (tmp_path / "skelzoo").mkdir()
    (tmp_path / "skelzoo/weights_manifest.json").write_text("{}")
    assert manifest_path() == tmp_path / "skelzoo/weights_manifest.json"
