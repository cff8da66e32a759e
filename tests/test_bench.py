"""The measurements: that they are taken of what they say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_files import write_benchmarks
from click.testing import CliRunner
from tiny import CONTRACT, make_config, make_encoder

import skelzoo
from skelzoo import Encoder
from skelzoo.bench.speed import PRODUCT_SIZE, bench_speed
from skelzoo.cli import main
from skelzoo.errors import DeviceError
from skelzoo.learn.probe import standard_split
from skelzoo.weights.checkpoint import build_net


def invoke(*args: object) -> str:
    result = CliRunner().invoke(main, ["bench", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.output


def run(*args: object) -> list[list[str]]:
    return [line.split() for line in invoke(*args, "--runs", 1).splitlines()[1:]]


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return f"local:{make_encoder().save(tmp_path / 'tiny')}"


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRODUCT_SIZE, "cpu", 64)  # type: ignore[arg-type]
    monkeypatch.setattr("skelzoo.bench.speed.SHORTEST", 0.005)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.filterwarnings("default:.*the joints do not fit layout")
def test_speed(tiny: str, small_products: None, tmp_path: Path) -> None:
    output = invoke(
        "speed",
        tiny,
        "--form",
        "fused",
        "--form",
        "embed",
        "--batch",
        2,
        "--batch",
        5,
        "--rounds",
        3,
        "--device",
        "cpu",
        "--no-memory",
        "--out",
        tmp_path / "t.csv",
    )
    rows = read(tmp_path / "t.csv")
    forms = [("plain", "float32"), ("fused", "float32"), ("fused", "bfloat16"), ("embed", "float32")]
    assert [(r["batch"], r["persons"], r["form"], r["dtype"]) for r in rows] == [(b, p, *f) for b in "25" for p in "12" for f in forms]
    assert output.count("take turns in 3 rounds") == 4 and len(output.splitlines()) == len(rows) + 4
    assert f"{rows[0]['model']}, 1 person(s), batch 2, plain float32: " in output
    for row in rows:
        assert float(row["clips_per_second"]) > 0 and float(row["first_seconds"]) > 0 and row["rounds"] == "3" and row["device"].startswith("cpu, ")
        assert float(row["difference"]) < (0.05 if row["dtype"] == "bfloat16" else 1e-5) and row["peak_mib"] == ""
    plain, fused = rows[0], rows[1]
    assert float(plain["ratio"]) == 1 and float(fused["ratio"]) == pytest.approx(float(fused["clips_per_second"]) / float(plain["clips_per_second"]), rel=0.01)
    one, two = (float(next(r for r in rows if r["persons"] == p and r["form"] == "fused")["gflop_per_clip"]) for p in "12")
    assert one == pytest.approx(two / 2, abs=0.001) and float(rows[4]["gflop_per_clip"]) == float(plain["gflop_per_clip"])


def test_speed_counts_the_operations_of_the_paper_sized_net(small_products: None) -> None:
    rows = list(bench_speed(["skeattnclr-ntu60"], ["plain"], ["float32"], [1], 1, "cpu", peaks=False))
    assert [row.gflop_per_clip for row in rows] == [7.293, 7.293]


@pytest.mark.slow
def test_memory_is_that_of_a_process_of_its_own(small_products: None, tmp_path: Path) -> None:
    config = make_config(contract=CONTRACT.replace(persons=1))
    folder = Encoder(build_net(config), config, device="cpu").save(tmp_path / "one-person")
    plain, fused = (row.peak_mib for row in bench_speed([f"local:{folder}"], ["fused"], ["float32"], [2000], 1, "cpu"))
    if plain is None or fused is None:
        pytest.skip("this system does not tell a process what it takes")
    assert 20 < fused < plain / 2


@pytest.mark.slow
def test_speed_compiled(tiny: str, small_products: None) -> None:
    compiled = [row for row in bench_speed([tiny], ["compiled", "max-autotune"], ["float32"], [3], 1, "cpu", peaks=False) if row.form != "plain"]
    assert len(compiled) == 4 and all(row.difference < 1e-5 for row in compiled)
    assert all(row.first_seconds > 10 * 3 / row.clips_per_second for row in compiled if row.persons == 1)


def test_speed_of_unknown_forms() -> None:
    with pytest.raises(DeviceError, match="no form folded"):
        list(bench_speed(forms=["folded"]))


def test_precision(tiny: str, tmp_path: Path) -> None:
    write_benchmarks(tmp_path)
    output = invoke("precision", tiny, "--data", tmp_path, "--dtype", "bfloat16", "--compile", "", "--device", "cpu", "--out", tmp_path / "t.csv")
    exact, rounded = read(tmp_path / "t.csv")
    assert (exact["dtype"], exact["cosine"], exact["lowest_cosine"], exact["knn_agreement"], exact["linear_agreement"]) == (
        "float32",
        "1.0",
        "1.0",
        "100.0",
        "100.0",
    )
    assert rounded["dtype"] == "bfloat16" and 0.9 < float(rounded["lowest_cosine"]) < float(rounded["cosine"]) < 1
    test = standard_split("nwucla", tmp_path, make_encoder().contract).test
    a, b = (skelzoo.load(tiny, device="cpu", dtype=dtype).embed(test, prepared=True) for dtype in ("float32", "bfloat16"))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert float(rounded["cosine"]) == pytest.approx(cosines.mean(), abs=1e-5) and float(rounded["lowest_cosine"]) == pytest.approx(cosines.min(), abs=1e-5)
    assert f"{rounded['model']}, bfloat16: cosine {float(rounded['cosine']):.6f}" in output and rounded["torch"] == torch.__version__


@pytest.mark.slow
def test_bulk(tiny: str) -> None:
    rows = [line.split() for line in invoke("bulk", tiny, "--clips", 1).splitlines()]
    assert [row[0] for row in rows] == ["clips", "1000"]
    assert float(rows[1][1]) > 0 and re.fullmatch(r"\d+|-", rows[1][3])


def test_loading(tiny: str) -> None:
    """A row is there as soon as it is measured, whatever comes of the next."""
    result = CliRunner().invoke(main, ["bench", "load", tiny, "local:nowhere", "--runs", "1"])
    name, size, unit, load, *rest = result.stdout.splitlines()[1].split()
    assert (name, size, unit) == (tiny, "0.1", "MB") and 0 <= float(rest[4]) < float(load) < 60
    assert result.exit_code == 1 and "there is no folder" in result.stderr


@pytest.mark.slow
def test_loading_what_the_package_holds() -> None:
    assert [row[0].rstrip(",") for row in run("load")][-1] == "skeattnclr-ntu60"


def test_importing() -> None:
    imported, listed = run("import")
    assert imported[:2] == ["import", "skelzoo"] and 0 < float(imported[2]) < 60 and listed[0] == "list_models()" and 0 < float(listed[1]) < 60
