"""Evaluation: rows with the right numbers, of the models, benchmarks and protocols that go together."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_files import PER_CLASS, VIEW, clip_of, write_benchmarks
from click.testing import CliRunner
from test_results import ROW
from tiny import make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import MissingDependencyError, SkelzooError, TrainingError
from skelzoo.learn import evaluate as module
from skelzoo.learn import protocols
from skelzoo.learn.baselines import BASELINES
from skelzoo.learn.benchmarks import BENCHMARKS, draw_labels, find_benchmark, standard_clips
from skelzoo.learn.evaluate import CHEAP, evaluate, evaluate_all, measure
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.protocols import ALL, PROTOCOLS, WITHOUT_COPIES, Trial
from skelzoo.learn.results import merge_rows, read_rows
from skelzoo.learn.training import auto_precision
from skelzoo.skeleton.clip import Clip
from skelzoo.weights.manifest import manifest

ROOT = Path(module.__file__).parents[2]
TEST = np.flatnonzero(VIEW == 3)
WRONG, COPIES = TEST[2:5], TEST[:3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Benchmarks in which three test clips of NW-UCLA are of another class than said, and three are marked as copies, one of them both."""

    def spoil(clips: list[Clip]) -> None:
        for i in WRONG:
            clips[i] = clip_of((i // PER_CLASS + 1) % 4, i)

    flags = np.zeros(len(VIEW))
    flags[COPIES], flags[TEST[3]], flags[0] = 64, 8, 64 | 1  # other flags, and flags of training clips, do not count
    return write_benchmarks(tmp_path_factory.mktemp("data"), spoil, flags)


@pytest.fixture(scope="module")
def trial(data: Path) -> Trial:
    return Trial(make_encoder(), find_benchmark("nwucla"), standard_clips("nwucla", data))


def test_rows_count_what_is_wrong_with_and_without_the_copies(model: str, data: Path) -> None:
    rows = evaluate(model, "nwucla", data, ["knn", "linear"], device="cpu")
    assert [(r.protocol, r.variant) for r in rows] == [(p, v) for p in ("knn", "linear") for v in (ALL, WITHOUT_COPIES)]
    for row in rows[::2]:
        assert (row.value, row.test_clips) == (pytest.approx(100 * 9 / 12, abs=1e-3), 12)
    for row in rows[1::2]:
        assert (row.value, row.test_clips) == (pytest.approx(100 * 7 / 9, abs=1e-3), 9)
    assert {(r.model, r.benchmark, r.train_clips, r.classes, r.spread, r.seeds, r.device) for r in rows} == {(model, "nwucla", 28, 4, None, (), "cpu")}


@pytest.mark.parametrize("protocol", CHEAP)
def test_the_protocol_is_in_the_row(model: str, data: Path, protocol: str) -> None:
    (row,) = evaluate(model, "utdmhad", data, [protocol], device="cpu")
    assert row.description == f"{find_benchmark('utdmhad').title}; {PROTOCOLS[protocol].description}"
    for part in {"knn": ["1-nearest", "Euclidean"], "linear": ["logistic", "C=0.05", "standardised"], "retrieval": ["precision", "cosine", "standardised"]}[
        protocol
    ]:
        assert part in row.description
    assert row.command == f"skelzoo eval {model} --on utdmhad --protocol {protocol} --data DATA"


def test_the_cheap_protocols_run_when_none_is_named(model: str, data: Path) -> None:
    assert [r.protocol for r in evaluate(model, "hdm05", data, device="cpu")] == ["linear", "knn", "retrieval"]
    assert [r.protocol for r in evaluate(model, "hdm05", data, labels=30, device="cpu")] == ["linear", "knn"]


def test_few_labels_give_mean_and_spread_over_the_draws(tmp_path: Path, model: str) -> None:
    rng = np.random.default_rng(0)

    def blur(clips: list[Clip]) -> None:
        for i, clip in enumerate(clips):
            clips[i] = clip.replace(keypoints=clip.keypoints + rng.normal(size=clip.keypoints.shape))

    folder = write_benchmarks(tmp_path, blur, files=["nw_ucla.npz"])
    (row,) = evaluate(model, "nwucla", folder, ["knn"], labels=30, device="cpu")
    trial, values = Trial(skelzoo.load(model, device="cpu"), find_benchmark("nwucla"), standard_clips("nwucla", folder)), []
    for seed in range(5):
        drawn = draw_labels(trial.clips, 30, seed)
        part = dataclasses.replace(trial.vectors, train=trial.vectors.train[drawn], train_labels=trial.vectors.train_labels[drawn])
        values.append(100 * protocols.right(part, "knn").mean())
    assert (row.value, row.spread) == (pytest.approx(np.mean(values), abs=1e-3), pytest.approx(np.std(values, ddof=1), abs=1e-3)) and row.spread
    assert (row.seeds, row.train_clips, row.variant) == ((0, 1, 2, 3, 4), 8, "30 % of labels, all test clips")
    assert "30 % of every class's labels" in row.description and row.command.endswith("--labels 30 --data DATA")


def test_random_weights_are_those_of_seed_0_and_said(model: str, data: Path) -> None:
    state = torch.get_rng_state()
    first, again = (evaluate(model, "nwucla", data, ["retrieval"], random_weights=True, device="cpu")[0] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers go on where they were"
    (trained,) = {r.value for r in evaluate(model, "nwucla", data, ["retrieval"], device="cpu") if r.variant == ALL}
    assert first.value == again.value != trained and first.model == f"{model} (random weights)"
    assert first.command == f"skelzoo eval {model} --random-weights --on nwucla --protocol retrieval --data DATA"


def test_fine_tuning_is_that_of_the_package_without_a_validation_part(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "FINETUNE_SEEDS", (0, 1))
    monkeypatch.setattr(FinetuneOptions.__init__, "__defaults__", (3, *(FinetuneOptions.__init__.__defaults__ or ())[1:]))  # 3 epochs
    rows = measure(trial, ["finetune"])
    truth = np.array([c.label for c in trial.clips.test])
    rights = [
        finetune(trial.encoder, trial.clips.train, validation=0.0, options=FinetuneOptions(epochs=3, seed=s)).encoder.classify(trial.clips.test, 1).labels[:, 0] == truth
        for s in (0, 1)
    ]  # fmt: skip
    for row, kept in zip(rows, (np.ones(12, bool), ~trial.clips.copies), strict=True):
        assert row.value == pytest.approx(100 * np.mean([r[kept].mean() for r in rights]), abs=1e-3) and row.seeds == (0, 1)
    assert {(r.precision, r.threads) for r in rows} == {(auto_precision(trial.encoder.device), torch.get_num_threads())}
    assert {(r.precision, r.threads) for r in measure(trial, ["retrieval"])} == {("", None)}, "where no weight is trained"


def test_fine_tuning_takes_the_labels_that_the_other_protocols_take(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LABEL_SEEDS", (0, 1))
    learned: list[list[str]] = []
    monkeypatch.setattr(protocols, "finetune", lambda encoder, clips, **options: learned.append([c.name for c in clips]) or finetune(encoder, clips, **options))
    monkeypatch.setattr(FinetuneOptions.__init__, "__defaults__", (2, *(FinetuneOptions.__init__.__defaults__ or ())[1:]))  # 2 epochs
    rows = measure(dataclasses.replace(trial, labels=30.0), ["finetune"])
    drawn = [[trial.clips.train[i].name for i in np.flatnonzero(draw_labels(trial.clips, 30, seed))] for seed in (0, 1)]
    assert learned == drawn and drawn[0] != drawn[1]
    assert [(r.variant, r.seeds, r.train_clips) for r in rows] == [(f"30 % of labels, {part}", (0, 1), len(drawn[0])) for part, _ in trial.test_parts]
    assert rows[0].command.endswith("--protocol finetune --labels 30 --data DATA")


@pytest.mark.parametrize("everything", [False, True])
def test_what_is_measured_is_kept_when_the_next_protocol_fails(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    def fail(trial: Trial) -> None:
        raise TrainingError("the second protocol")

    monkeypatch.setattr(protocols, "PROTOCOLS", {**PROTOCOLS, "linear": dataclasses.replace(PROTOCOLS["linear"], run=fail)})
    monkeypatch.setattr(module, "manifest", lambda: SimpleNamespace(pretrained=[model], aliases={}))
    table = tmp_path / "nwucla.csv"
    words = ["--all", "--out", tmp_path] if everything else [model, "--on", "nwucla", "--out", table]
    result = CliRunner().invoke(main, ["eval", *map(str, words), "--data", str(data), "--protocol", "knn", "--protocol", "linear", "--device", "cpu"])
    kept = read_rows(table)
    assert result.exit_code == 1 and "the second protocol" in result.output and [r.protocol for r in kept] == ["knn", "knn"]
    assert everything or result.stdout.splitlines() == [str(row) for row in kept]


def test_without_scikit_learn_the_call_is_checked_and_nothing_read_first(model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    (tmp_path / "nw_ucla.npz").touch()
    for names in ((), ["semi"], ["retrieval", "knn"]):  # the file is empty, so that reading it would fail
        with pytest.raises(MissingDependencyError, match=r"skelzoo\[eval\]"):
            evaluate(model, "nwucla", tmp_path, names)
    for wrong, said in (
        (("absent", "nwucla", tmp_path), "absent"),
        ((model, "nope", tmp_path), "no benchmark"),
        ((model, "nwucla", data / "absent"), "no file"),
    ):
        with pytest.raises(SkelzooError, match=said):
            evaluate(*wrong)
    with pytest.raises(MissingDependencyError):
        next(evaluate_all(tmp_path / "absent", tmp_path))
    assert evaluate(model, "nwucla", data, ["retrieval"], device="cpu")


def test_what_does_not_go_together_is_refused(model: str, data: Path) -> None:
    with pytest.raises(TrainingError, match=r"no protocol 'svm'\. Known: linear, knn, retrieval, finetune"):
        evaluate(model, "nwucla", data, ["svm"], device="cpu")
    with pytest.raises(TrainingError, match="no benchmark 'nope'"):
        evaluate(model, "nope", data, device="cpu")
    with pytest.raises(TrainingError, match="coordinates on nwucla: protocol finetune needs a net"):
        evaluate("coordinates", "nwucla", data, ["finetune"])
    with pytest.raises(TrainingError, match="coordinates has no net, so it has no random weights"):
        evaluate("coordinates", "nwucla", data, random_weights=True)
    with pytest.raises(TrainingError, match=r"protocol retrieval cannot be given a share of the labels.*linear, knn"):
        evaluate(model, "nwucla", data, ["retrieval"], labels=10, device="cpu")
    with pytest.raises(TrainingError, match=r"reads 3-D joints, those of nwucla-2d are 2-D\. Use one of nwucla, utdmhad, uiprmd, hdm05\."):
        evaluate(model, "nwucla-2d", data, device="cpu")


def test_all_measures_every_model_its_twin_and_the_baselines(model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "manifest", lambda: SimpleNamespace(pretrained=[model], aliases={}))
    merge_rows(tmp_path / "nwucla.csv", [ROW])
    rows = list(evaluate_all(data, tmp_path, ["knn", "retrieval"], "cpu"))
    every = {*BASELINES, model, f"{model} (random weights)"}
    expected = {(name, b, p) for b in BENCHMARKS for name in (every if find_benchmark(b).dimension == 3 else BASELINES) for p in ("knn", "retrieval")}
    assert {r.key[:3] for r in rows} == expected
    for name in BENCHMARKS:
        stored = read_rows(tmp_path / f"{name}.csv")
        assert sorted(r.key for r in stored if r != ROW) == sorted(r.key for r in rows if r.benchmark == name) and (ROW in stored) == (name == "nwucla")
    (twin,) = (r for r in rows if r.key == (f"{model} (random weights)", "utdmhad", "retrieval", ALL))
    assert evaluate(model, "utdmhad", data, ["retrieval"], random_weights=True, device="cpu") == [twin]


def test_all_leaves_out_protocols_that_a_model_does_not_go_with(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "manifest", lambda: SimpleNamespace(pretrained=[], aliases={}))
    assert list(evaluate_all(data, tmp_path, ["finetune"], "cpu")) == []


def test_all_leaves_out_benchmarks_whose_file_is_missing_and_says_so(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "manifest", lambda: SimpleNamespace(pretrained=[], aliases={}))
    (tmp_path / "utd_mhad.npz").symlink_to(data / "utd_mhad.npz")
    message = r"no nw_ucla\.npz, uiprmd_kinect\.npz, hdm05_subset\.npz\. Benchmarks left out: nwucla, uiprmd, hdm05, nwucla-2d\. Put"
    with pytest.warns(UserWarning, match=message):
        rows = list(evaluate_all(tmp_path, tmp_path / "out", ["knn"], "cpu"))
    assert {r.benchmark for r in rows} == {path.stem for path in (tmp_path / "out").glob("*.csv")} == {"utdmhad", "utdmhad-2d"}


@pytest.mark.parametrize(
    ("protocol", "message"), [("knn", "no file of any benchmark.*holds nw_ucla.npz, utd_mhad.npz, .*--data"), ("svm", "no protocol 'svm'")]
)
def test_all_says_what_is_missing_before_anything_is_measured(tmp_path: Path, protocol: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        next(evaluate_all(tmp_path, tmp_path / "out", ["knn", protocol], "cpu"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.needs_shared
def test_a_published_number_comes_out_again(shared: Path) -> None:
    name, benchmark = "skeattnclr-openskel-free", "utdmhad"
    rows = evaluate(name, benchmark, shared / "data", ["linear", "knn"], device="cpu")
    metrics = {(m.dataset, m.protocol): m.value for m in manifest().find(name).metrics}
    assert [round(row.value, 1) for row in rows] == [metrics[find_benchmark(benchmark).title, row.protocol] for row in rows]
