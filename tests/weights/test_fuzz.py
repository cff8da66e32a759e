"""Random damage to what strangers write: nothing but a SkelzooError, or a model that is whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hub_faults import relisted
from tiny import make_encoder

import skelzoo
from skelzoo.errors import SkelzooError
from skelzoo.weights.files import dump_json, read_checksums
from skelzoo.weights.manifest import ModelConfig, manifest_path, parse_manifest

CASES = {"quick": 80, "slow": 12_000}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(0, 70) | st.floats() | st.text(max_size=8) | st.sampled_from(["joint", "center", "kinect20", "psp", "bundled"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(["step", "frames", "arch", "size"]), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip

fuzz = pytest.mark.parametrize("cases", ["quick", pytest.param("slow", marks=pytest.mark.slow)])


def many(cases: str) -> settings:
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=CASES[cases], deadline=None, suppress_health_check=checks, database=None)


def places(row: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON."""
    yield path
    for key, value in row.items() if isinstance(row, dict) else enumerate(row) if isinstance(row, list) else ():
        yield from places(value, (*path, key))


def changed(data: st.DataObject, row: Any) -> Any:
    """JSON with one to three places removed, replaced or added to."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(list(places(row))))
        if not path:
            row = data.draw(JSON)
            continue
        row = copy.deepcopy(row)
        parent = row
        for key in path[:-1]:
            parent = parent[key]
        how = data.draw(st.sampled_from(["remove", "replace", "add"]))
        if how == "remove":
            del parent[path[-1]]
        elif how == "replace" or isinstance(parent, list):
            parent[path[-1]] = data.draw(JSON)
        else:
            parent[data.draw(st.text(max_size=8))] = data.draw(JSON)
    return row


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Bytes with some of them changed, cut out, put in or said twice."""
    out = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(out), 6000)) | st.integers(0, len(out)))
        how = data.draw(st.sampled_from(["flip", "cut", "insert", "truncate", "repeat"]))
        if how == "flip" and place < len(out):
            out[place] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del out[place : place + data.draw(st.integers(1, 64))]
        elif how == "insert":
            out[place:place] = data.draw(st.binary(min_size=1, max_size=16))
        elif how == "truncate":
            del out[place:]
        else:
            out[place:place] = out[place : place + data.draw(st.integers(1, 64))]
    return bytes(out)


def load_or_error(folder: Path) -> None:
    try:
        encoder = skelzoo.load(f"local:{folder}", device="cpu")
    except SkelzooError as error:
        assert len(str(error)) < 20_000
    else:
        shapes = {k: (v.shape, v.dtype) for k, v in make_encoder().net.state_dict().items()}
        assert encoder.config != make_encoder().config or {k: (v.shape, v.dtype) for k, v in encoder.net.state_dict().items()} == shapes


@fuzz
def test_model_files(cases: str, files: dict[str, bytes], tmp_path: Path) -> None:
    """Listed with their own hashes, so that they are parsed."""

    @many(cases)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        for name, content in relisted(files, model=damaged(data, files["model.safetensors"])).items():
            (tmp_path / name).write_bytes(content)
        load_or_error(tmp_path)

    check()


@fuzz
def test_configs(cases: str, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = json.loads(files["config.json"])

    @many(cases)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        text = json.dumps(changed(data, whole)).encode()
        text = damaged(data, text) if data.draw(st.integers(0, 3)) == 0 else text
        for name, content in relisted(files, config=text).items():
            (tmp_path / name).write_bytes(content)
        load_or_error(tmp_path)

    check()


@fuzz
def test_checksum_lists(cases: str, files: dict[str, bytes], tmp_path: Path) -> None:
    whole = json.loads(files["checksums.json"])

    @many(cases)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        (tmp_path / "checksums.json").write_text(json.dumps(changed(data, whole)))
        try:
            assert read_checksums(tmp_path).keys() <= files.keys()
        except SkelzooError:
            return

    check()


@fuzz
def test_manifests(cases: str) -> None:
    whole = json.loads(manifest_path().read_text(encoding="utf-8"))
    kept = ["skeattnclr-openskel", *list(whole["models"])[:2]]
    whole["models"] = {name: whole["models"][name] for name in kept}
    used = {row["config"]["contract"] for row in whole["models"].values() if isinstance(row["config"]["contract"], str)}
    sets = {row["config"]["labels"] for row in whole["models"].values() if isinstance(row["config"]["labels"], str)}
    whole["contracts"] = {name: row for name, row in whole["contracts"].items() if name in used}
    whole["label_sets"] = {name: row for name, row in whole["label_sets"].items() if name in sets}
    whole["aliases"] = {}
    parse_manifest(dump_json(whole))

    @many(cases)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        text = json.dumps(changed(data, whole))
        try:
            parsed = parse_manifest(damaged(data, text.encode()).decode("utf-8", "replace") if data.draw(st.integers(0, 3)) == 0 else text)
        except SkelzooError:
            return
        assert all(isinstance(entry.config, ModelConfig) for entry in parsed.models.values())

    check()


def test_a_config_takes_no_memory_before_it_is_known_to_be_that_of_the_weights(files: dict[str, bytes], tmp_path: Path) -> None:
    whole = json.loads(files["config.json"])
    for options, says in (
        ({"hidden_dim": 8192, "hidden_channels": 8192}, "has shape"),
        ({"hidden_dim": 1 << 40}, "above 8192"),
        ({"embed_blocks": [9] * 9000}, "above 8192"),
    ):
        changed_config = json.dumps({**whole, "options": {**whole["options"], **options}}).encode()
        for name, content in relisted(files, config=changed_config).items():
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SkelzooError, match=says):
            skelzoo.load(f"local:{tmp_path}", device="cpu")
