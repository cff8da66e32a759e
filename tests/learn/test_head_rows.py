"""The protocol ``head``: a model's own head is measured, and the rows have what decides them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from test_head import DATA, write, write_kinds
from tiny import make_encoder

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.inference.encoder import Encoder
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.head import fit_head, measure_head
from skelzoo.learn.head_clips import HeadOptions
from skelzoo.learn.head_rows import ERROR, HELD_OUT, MEAN_SCORE, TOP1, UNSEEN, evaluate_head, said_of
from skelzoo.learn.recipe import load_recipe
from skelzoo.learn.results import merge_rows, read_rows
from skelzoo.weights.cards import CONFUSED

OPTIONS = HeadOptions({"a.npz": "*"}, fewest=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and a run whose recipe fitted the head."""
    folder = write(tmp_path_factory.mktemp("heads"), 4, mislabelled=3)
    fitted(folder).save(folder / "run/weights")
    recipe = dataclasses.replace(load_recipe("skeattnclr-openskel"), name="mine", data=DATA, head=OPTIONS)
    (folder / "run/recipe.json").write_text(json.dumps(recipe.to_dict()))
    return folder


def fitted(folder: Path) -> Encoder:
    return fit_head(make_encoder(labels=None), OPTIONS, DATA, folder)[0]


def test_a_head_is_measured_as_when_it_was_fitted(tmp_path: Path) -> None:
    """So refitting and measuring give one set of numbers."""
    data, options = write_kinds(tmp_path), HeadOptions({"a.npz": "*", "b.npz": "*"}, fewest=3)
    headed, result = fit_head(make_encoder(labels=None), options, data, tmp_path)
    again = measure_head(headed, options, data, tmp_path)
    assert again.temperature == pytest.approx(result.temperature, rel=1e-6) and again.kinds.keys() == result.kinds.keys()
    for one, other in [(result, again), *((result.kinds[kind], again.kinds[kind]) for kind in result.kinds)]:
        assert one.accuracy == other.accuracy and one.mean_score == pytest.approx(other.mean_score, abs=1e-3)


def test_held_out_clips_are_judged_by_the_head_of_the_weights(folder: Path) -> None:
    headed = fitted(folder)
    with torch.no_grad():
        for p in headed.net.head.parameters():  # its scores become more certain, and class0 is never given
            p.mul_(3)
        headed.net.head.bias[0] -= 1000
    result = measure_head(headed, OPTIONS, DATA, folder)
    out = [c for c in skelzoo.read(folder / "a.npz") if int(c.name.split("_")[1]) % 4 == 3]
    said = headed.classify(out, top_k=1)
    assert result.accuracy == pytest.approx(100 * np.mean(said.labels[:, 0] == [c.label for c in out])) and result.mean_score == pytest.approx(
        100 * said.scores.mean()
    )
    assert "class0" not in {taken for _, taken, _ in result.confusions}


def test_rows_by_command(folder: Path, tmp_path: Path) -> None:
    words = ["eval", f"local:{folder}/run/weights", "--protocol", "head", "--data", str(folder), "--device", "cpu", "--out", str(tmp_path / "heads.csv")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    rows = {(row.protocol, row.variant): row for row in read_rows(tmp_path / "heads.csv")}
    assert done.stdout.count("\n") == len(rows) and rows[TOP1, HELD_OUT].value == rows[TOP1, said_of("subject")].value == 62.5
    assert {(p, said_of(UNSEEN)) for p in (TOP1, ERROR, MEAN_SCORE)} < rows.keys() and rows[TOP1, said_of(UNSEEN)].test_clips == 24
    assert sum(row.value * row.test_clips for row in rows.values() if row.protocol.startswith(CONFUSED)) == pytest.approx(300)
    row = rows[ERROR, HELD_OUT]
    assert (row.benchmark, row.train_clips, row.test_clips, row.classes, row.device) == ("a.npz, b.npz", 24, 8, 4, "cpu")
    assert row.command == f"skelzoo eval local:{folder}/run/weights --protocol head --data DATA"


def test_another_measurement_takes_the_place_of_all_rows_of_the_head(folder: Path, tmp_path: Path) -> None:
    rows = evaluate_head(f"local:{folder}/run/weights", folder, "cpu")
    gone = dataclasses.replace(rows[0], protocol=f"{CONFUSED}class9", variant="class8")
    others = [dataclasses.replace(gone, model="other"), dataclasses.replace(gone, protocol="knn")]
    merge_rows(tmp_path / "heads.csv", [*rows, gone])
    merge_rows(tmp_path / "heads.csv", others)
    merge_rows(tmp_path / "heads.csv", rows)
    assert {row.key for row in read_rows(tmp_path / "heads.csv")} == {row.key for row in [*rows, *others]}


def test_a_head_that_learned_held_out_clips_is_not_measured_on_them(folder: Path) -> None:
    clips = skelzoo.read(folder / "a.npz")
    headed = fitted(folder)
    options = FinetuneOptions(epochs=1, precision="32-true")
    finetune(headed, [c for c in clips if int(c.name.split("_")[1]) % 4 < 3], mode="linear", validation=0, options=options).encoder.save(folder / "run/kept")
    assert evaluate_head(f"local:{folder}/run/kept", folder, "cpu")
    finetune(headed, clips[:6] + clips[-6:], mode="linear", validation=0, options=options).encoder.save(folder / "run/learned")
    with pytest.raises(TrainingError, match=r"was fine-tuned on \d of the 8 clips that its recipe holds out"):
        evaluate_head(f"local:{folder}/run/learned", folder, "cpu")


@pytest.mark.parametrize(
    "words", [["--on", "nwucla"], ["--protocol", "knn"], ["--labels", "10"], ["--random-weights"], ["--all"], ["--select-persons"], ["--film"]]
)
def test_the_protocol_goes_alone(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["eval", "skeattnclr-openskel", "--protocol", "head", "--data", ".", *words])
    assert done.exit_code == 2 and "--protocol head goes with a MODEL" in done.output


def test_models_without_such_a_head_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no recipe with a head is known of it"):
        evaluate_head(f"local:{make_encoder().save(tmp_path / 'tiny')}", folder, "cpu")
    with pytest.raises(TrainingError, match=r"is of other classes than its recipe gives here: class0, class1, class2, class3\. Give the weights that"):
        measure_head(make_encoder(), OPTIONS, DATA, folder)


@pytest.mark.slow
@pytest.mark.needs_shared
def test_published_numbers_of_a_head_come_out_again(shared: Path) -> None:
    name = "skeattnclr-openskel-free"
    rows = evaluate_head(name, shared / "data", "cpu")
    published = {row.key: row.value for row in read_rows(Path(__file__).parents[2] / "docs/results/heads.csv") if row.model == name}
    assert {row.key: row.value for row in rows} == pytest.approx(published, abs=0.06)
