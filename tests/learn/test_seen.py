"""Clips that a model was trained on judge nothing that comes of it, and are known again by their joints."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_files import write_benchmarks
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from test_finetune import psp_encoder
from tiny import CONTRACT, OPTIONS, make_clip, make_encoder, write_corpus, write_json

import skelzoo
from skelzoo.bench.precision import bench_precision
from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.learn.benchmarks import by_subjects, filmed, leave_one_subject_out
from skelzoo.learn.cross_validation import cross_validate
from skelzoo.learn.evaluate import evaluate, evaluate_all
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.finetune_report import summary
from skelzoo.learn.pretrain.loop import pretrain, refit
from skelzoo.learn.recipe import load_recipe
from skelzoo.learn.seen import check_recipe, learned_before
from skelzoo.weights.entries import register
from skelzoo.weights.files import read_checksums, write_checksums
from skelzoo.weights.sources import find

ONCE = FinetuneOptions(epochs=1, precision="32-true")


def clips_of(start: int, count: int = 12) -> list[skelzoo.Clip]:
    return [make_clip(start + i).replace(label="ab"[i % 2], name=f"{start + i}") for i in range(count)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fine-tuned on clips 0 to 11, saved and loaded, then on clips 100 to 111."""
    folder = tmp_path_factory.mktemp("models")
    first = finetune(make_encoder(labels=None), clips_of(0), mode="linear", options=ONCE).encoder
    again = skelzoo.load(f"local:{first.save(folder / 'first')}", device="cpu")
    return f"local:{finetune(again, clips_of(100), mode='linear', options=ONCE).encoder.save(folder / 'second')}"


def told(call: Any) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(w.message) for w in caught if "was fine-tuned before on" in str(w.message)]


def test_what_was_learned_is_known_after_saving_copying_and_learning_more(tuned: str, tmp_path: Path) -> None:
    encoder = skelzoo.load(tuned, device="cpu")
    assert len(encoder.fine_tuned_on) == 24 and all(len(short) == 16 for short in encoder.fine_tuned_on)
    copied = skelzoo.load(f"local:{copy.deepcopy(encoder).save(tmp_path / 'copy')}", device="cpu")
    with torch.no_grad():
        copied.net.head.bias.add_(1)
    headless = skelzoo.load(f"local:{copied.save(tmp_path / 'changed')}", device="cpu", num_classes=7)
    for each in (encoder, copied, headless):
        assert [learned_before([clip], each) for clip in (*clips_of(0, 2), *clips_of(110, 2), *clips_of(50, 2))] == [1, 1, 1, 1, 0, 0]
    crowd = skelzoo.Clip(np.concatenate([make_clip(70).keypoints, make_clip(3).keypoints]), "kinect20")
    assert learned_before([crowd, crowd.take(persons=[0])], encoder) == 1
    assert not skelzoo.load(tuned, device="cpu", pretrained=False).fine_tuned_on and skelzoo.verify(tuned, "cpu").ok


def test_weights_of_no_fine_tuning_hold_nothing_more(tmp_path: Path) -> None:
    plain, other = make_encoder(), make_encoder()
    other.fine_tuned_on = frozenset(["0" * 16])
    sizes = [read_checksums(encoder.save(tmp_path / name))["model.safetensors"].size for name, encoder in (("plain", plain), ("other", other))]
    assert b"fine_tuned_on" not in (tmp_path / "plain/model.safetensors").read_bytes() and sizes[0] < sizes[1] < sizes[0] + 100
    assert skelzoo.load(f"local:{tmp_path / 'plain'}", device="cpu").fine_tuned_on == frozenset()


def test_unlabelled_and_validation_clips_count_as_learned() -> None:
    options = FinetuneOptions(epochs=1, precision="32-true", unlabelled_ratio=1)
    result = finetune(psp_encoder(), clips_of(0), mode="semi", unlabelled=clips_of(20, 3), validation=iter(clips_of(40, 2)), options=options)
    assert [learned_before(clips_of(*part), result.encoder) for part in ((0, 12), (20, 4), (40, 3), (60, 2))] == [12, 3, 2, 0]


@pytest.mark.parametrize(("validation", "count"), [(0.5, 6), (clips_of(104, 4), 4), (clips_of(300, 4), 0), (0, 0)])
def test_a_validation_part_that_was_learned_before_is_warned_of(tuned: str, validation: Any, count: int) -> None:
    encoder, clips = skelzoo.load(tuned, device="cpu"), clips_of(0)
    result, said = told(lambda: finetune(encoder, clips, mode="linear", validation=validation, options=ONCE))
    judged = 6 if validation == 0.5 else 4
    sentence = f"{tuned} was fine-tuned before on {count} of the {judged} clips that judge, so the accuracy is too high"
    assert len(said) == bool(count) and all(text.startswith(sentence) for text in said)
    assert (sentence in summary(result)) == (sentence in result.encoder.card) == bool(count) and result.learned_before == sentence * bool(count)


def test_a_cross_validation_of_what_was_learned_before_is_warned_of_once(tuned: str) -> None:
    clips = [*clips_of(0, 8), *clips_of(200, 8)]
    for start, count in ((skelzoo.load(tuned, device="cpu"), 1), (make_encoder(labels=None), 0)):
        crossed, said = told(lambda start=start: cross_validate(start, clips, folds=2, mode="linear", options=ONCE))  # type: ignore[misc]
        assert len(said) == count and all("on 8 of the 16 clips that judge" in text for text in said)
        model, again = told(lambda start=start, crossed=crossed: finetune(start, clips, mode="linear", validation=crossed, options=ONCE))  # type: ignore[misc]
        assert not again and ("on 8 of the 16 clips that judge" in model.encoder.card) == count


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled corpus file, four subjects."""
    clips = [make_clip(i).replace(name=f"c{i}") for i in range(16)]
    return write_corpus(tmp_path_factory.mktemp("data") / "own.npz", clips, [i % 2 for i in range(16)], subject=np.repeat([1, 2, 3, 4], 4))


def test_eval_refuses_clips_that_the_model_was_fine_tuned_on(corpus: Path, model: str, tmp_path: Path) -> None:
    def run(*args: object) -> Any:
        return CliRunner().invoke(main, [*map(str, args), "--device", "cpu"])

    own = f"local:{tmp_path / 'mine'}"
    assert run("finetune", model, corpus, "--out", tmp_path / "mine", "--epochs", 1, "--mode", "linear").exit_code == 0
    refused = run("eval", own, "--on", corpus, "--test-subjects", "each", "--protocol", "knn", "--out", tmp_path / "t.csv")
    assert refused.exit_code == 1 and f"{own}: was fine-tuned on 16 of the 16 test clips of" in refused.stderr and not (tmp_path / "t.csv").exists()
    assert run("eval", own, "--random-weights", "--on", corpus, "--test-subjects", "each", "--protocol", "knn").exit_code == 0
    crossed = run("finetune", own, corpus, "--out", tmp_path / "x", "--epochs", 1, "--mode", "linear", "--folds", 2)
    assert crossed.stderr.count("was fine-tuned before on 16 of the 16 clips that judge") == 1


def test_what_is_filmed_or_begun_with_is_refused_too(corpus: Path, tmp_path: Path) -> None:
    clips = skelzoo.read(corpus)[:12]
    first = f"local:{finetune(make_encoder(labels=None), clips, mode='linear', options=ONCE).encoder.save(tmp_path / 'first')}"
    for benchmark, count, tests in ((by_subjects(corpus.name, [1]), 4, 4), (leave_one_subject_out(corpus.name), 12, 16)):
        with pytest.raises(TrainingError, match=f"was fine-tuned on {count} of the {tests} test clips of"):
            evaluate(first, benchmark, corpus.parent, ["knn"], device="cpu")
        with pytest.raises(TrainingError, match=f"was fine-tuned on {count} of the {tests} test clips of"):
            evaluate(first, filmed(benchmark), corpus.parent, ["knn"], device="cpu")
    assert evaluate(first, by_subjects(corpus.name, [4]), corpus.parent, ["knn"], device="cpu")
    recipe = {**load_recipe("skeattnclr-openskel-free").to_dict(), "start": first}
    (tmp_path / "run/weights").mkdir(parents=True)
    write_json(tmp_path / "run/recipe.json", recipe)
    with pytest.raises(TrainingError, match="first: was fine-tuned on 4 of the 4 test clips"):
        check_recipe(f"local:{tmp_path / 'run/weights'}", by_subjects(corpus.name, [1]), corpus.parent)


@pytest.mark.parametrize(
    "measured",
    [
        pytest.param(lambda model, data: bench_precision([model], "nwucla", data, (), "", "cpu"), id="precision"),
        pytest.param(lambda model, data: evaluate_all(data, data / "out", ["retrieval"], "cpu"), id="all"),
    ],
)
def test_what_measures_many_models_refuses_them_too(measured: Callable[[str, Path], Iterator[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_benchmarks(tmp_path, files=["nw_ucla.npz"])
    clips = skelzoo.read(data / "nw_ucla.npz")
    tuned = f"local:{finetune(make_encoder(labels=None), clips, mode='linear', options=ONCE).encoder.save(tmp_path / 'tuned')}"
    monkeypatch.setattr("skelzoo.learn.evaluate.manifest", lambda: SimpleNamespace(pretrained=[tuned], aliases={}))
    with pytest.raises(TrainingError, match="tuned: was fine-tuned on 12 of the 12 test clips of nwucla"):
        list(measured(tuned, data))


def test_a_shipped_model_is_known_in_copies_and_in_what_comes_of_it(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = write_benchmarks(tmp_path / "data", files=["uiprmd_kinect.npz"])
    shutil.copytree(find("skeletonmae-openskel-free").folder, tmp_path / "copy")
    encoder = skelzoo.load(f"local:{tmp_path / 'copy'}", device="cpu")
    finetune(encoder, clips_of(0), mode="linear", options=ONCE).encoder.save(tmp_path / "tuned")
    skelzoo.load(f"local:{tmp_path / 'tuned'}", device="cpu", num_classes=3).save(tmp_path / "again")
    for name in ("copy", "again"):
        with pytest.raises(TrainingError, match="skeletonmae-openskel-free: its recipe trains on 4 of the 4 test clips"):
            evaluate(f"local:{tmp_path / name}", by_subjects("uiprmd_kinect.npz", [1]), data, ["knn"], device="cpu")
    assert evaluate(f"local:{tmp_path / 'again'}", by_subjects("uiprmd_kinect.npz", [9]), data, ["knn"], device="cpu")
    assert not [w for w in recwarn if "nothing tells" in str(w.message)]


def row_of(start: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe that goes on from a small model, on clips that it writes."""
    write_corpus(folder / "mine.npz", [make_clip(300 + i) for i in range(16)], [i % 2 for i in range(16)], subject=np.repeat([1, 2, 3, 4], 4))
    return {
        "name": "mine", "method": "skeattnclr", "arch": "skeattnclr-stgcn", "options": OPTIONS, "contract": CONTRACT.to_dict(), "start": start, "steps": 1,
        "data": {"files": ["mine.npz"], "max_step": 100, "held_out": {"mine.npz": {"subjects": [4]}}}, "stored_frames": 16, "batch_size": 4, "method_options": {"queue": 4},
        **changes,
    }  # fmt: skip


def test_weights_away_from_their_run_know_its_recipe_and_what_it_began_with(tuned: str, tmp_path: Path) -> None:
    pretrain(row_of(tuned, tmp_path), tmp_path, tmp_path / "run", device="cpu").rename(tmp_path / "moved")
    model, more = (f"local:{tmp_path / name}" for name in ("moved", "more"))
    finetune(skelzoo.load(model, device="cpu"), clips_of(200), mode="linear", options=ONCE).encoder.save(tmp_path / "more")
    for name in (model, more):
        assert skelzoo.load(name, device="cpu").fine_tuned_on >= skelzoo.load(tuned, device="cpu").fine_tuned_on
        with pytest.raises(TrainingError, match=f"{name}, pretrained as mine: its recipe trains on 4 of the 4 test clips"):
            evaluate(name, by_subjects("mine.npz", [2]), tmp_path, ["knn"], device="cpu")
        with pytest.warns(UserWarning, match="nothing tells what the folder second, which it began with, was pretrained on"):
            assert evaluate(name, by_subjects("mine.npz", [4]), tmp_path, ["knn"], device="cpu")
    again = pretrain(row_of(model, tmp_path, name="second"), tmp_path, tmp_path / "second", device="cpu")
    assert [each["name"] for each in skelzoo.load(f"local:{again}", device="cpu").pretrained_on] == ["the folder second", "mine", "second"]
    headed = refit(tmp_path / "second/recipe.json", tmp_path, tmp_path / "second", device="cpu")
    assert [each["name"] for each in skelzoo.load(f"local:{headed}", device="cpu").pretrained_on] == ["the folder second", "mine", "second"]


def test_what_a_run_began_with_counts_though_it_is_gone_at_the_end(tuned: str, tmp_path: Path) -> None:
    shutil.copytree(tuned.removeprefix("local:"), tmp_path / "start")
    row = row_of(f"local:{tmp_path / 'start'}", tmp_path, steps=2)
    pretrain(row, tmp_path, tmp_path / "run", device="cpu", stop_after=1)
    shutil.rmtree(tmp_path / "start")
    encoder = skelzoo.load(f"local:{pretrain(row, tmp_path, tmp_path / 'run', device='cpu')}", device="cpu")
    assert encoder.fine_tuned_on == skelzoo.load(tuned, device="cpu").fine_tuned_on
    assert [each["name"] for each in encoder.pretrained_on] == ["the folder start", "mine"]


def test_a_model_registered_under_a_papers_name_is_not_that_of_its_recipe(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELZOO_HOME", str(tmp_path / "home"))
    register(make_encoder(labels=None).save(tmp_path / "plain"), "skeattnclr-ntu60")
    with pytest.warns(UserWarning, match=r"skeattnclr-ntu60: nothing tells what it was pretrained on, so .* no test clip of own\.npz subjects 1 was among it"):
        evaluate("skeattnclr-ntu60", by_subjects(corpus.name, [1]), corpus.parent, ["knn"], device="cpu")


@pytest.mark.parametrize(
    ("note", "what"),
    [
        *[(note, "it") for note in ("", "[", "[1]", '{"pretrained_on": 3}', '{"pretrained_on": [{"data": {}}], "fine_tuned_on": [1, "x"]}')],
        *[(f'{{"pretrained_on": [{{"name": "{name}"}}]}}', f"{name}, which it began with,") for name in ("of-another-skelzoo", "psp-ntu60", "local:w/x")],
    ],
)
def test_of_weights_that_note_nothing_eval_says_so(corpus: Path, tmp_path: Path, note: str, what: str) -> None:
    folder = make_encoder(labels=None).save(tmp_path / "plain")
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"learned_from": note})
    write_checksums(folder)
    with pytest.warns(UserWarning, match=rf"plain: nothing tells what {what} was pretrained on, so .* no test clip of own\.npz subjects 1 was among it"):
        evaluate(f"local:{folder}", by_subjects(corpus.name, [1]), corpus.parent, ["knn"], device="cpu")


def test_what_the_start_of_a_model_was_trained_on_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that went on from one that saw test clips has seen them too."""
    data = write_benchmarks(tmp_path / "data", files=["nw_ucla.npz", "uiprmd_kinect.npz"])
    recipe = json.loads((resources.files("skelzoo.learn") / "recipes/psp-openskel.json").read_text())
    for name, files, start in (("first", ["nw_ucla.npz"], None), ("second", ["uiprmd_kinect.npz"], f"local:{tmp_path}/first/weights")):
        (tmp_path / name / "weights").mkdir(parents=True)
        row = {**recipe, "name": name, "data": {"files": files}, "start": start, "head": None}
        (tmp_path / name / "recipe.json").write_text(json.dumps(row))
    for name in ("first", "second"):
        with pytest.raises(TrainingError, match=r"first/weights: its recipe trains on .* of nwucla"):
            check_recipe(f"local:{tmp_path}/{name}/weights", "nwucla", data)
    monkeypatch.chdir(tmp_path / "second/weights")
    (tmp_path / "link").symlink_to(tmp_path / "second/weights")
    for model in ("local:.", "local:../weights", f"local:{tmp_path}/link"):
        with pytest.raises(TrainingError, match="its recipe trains on"):
            check_recipe(model, "nwucla", data)
    (tmp_path / "second/weights").rename(tmp_path / "elsewhere")
    (tmp_path / "second/weights").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="its recipe trains on"):
        check_recipe(f"local:{tmp_path}/second/weights", "nwucla", data)
    (tmp_path / "clean").mkdir()
    row = {**recipe, "name": "clean", "data": {"files": ["uiprmd_kinect.npz"]}, "head": None}
    (tmp_path / "clean/recipe.json").write_text(json.dumps(row))
    (tmp_path / "clean/weights").symlink_to(tmp_path / "first/weights")
    with pytest.raises(TrainingError, match="its recipe trains on"):
        check_recipe(f"local:{tmp_path}/clean/weights", "nwucla", data)
    shutil.rmtree(tmp_path / "first")
    with pytest.raises(TrainingError, match=r"began with local:.*first/weights, which is not there any more"):
        check_recipe(f"local:{tmp_path}/second/weights", "nwucla", data)
