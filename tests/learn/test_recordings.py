"""Recordings arranged by class: how they are read, `skelzoo finetune`, and what it writes."""

from __future__ import annotations

import copy
import csv
import dataclasses
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from unicodedata import normalize

import numpy as np
import pytest
import torch
from benchmark_files import write_benchmarks
from click.testing import CliRunner, Result
from tiny import CONTRACT, make_clip, make_encoder, write_corpus

import skelzoo
from skelzoo.cli import main
from skelzoo.errors import TrainingError
from skelzoo.inference.files import Refusal
from skelzoo.learn.evaluate import evaluate
from skelzoo.learn.finetune import FinetuneOptions, finetune
from skelzoo.learn.labels import Labels
from skelzoo.learn.own_corpus import make_own_corpus
from skelzoo.learn.recordings import LabelledClip, finetune_recordings, labelled_files
from skelzoo.learn.seen import seen_tests
from skelzoo.skeleton.io.corpus import read_corpus, save_corpus
from skelzoo.skeleton.procedural import make
from skelzoo.weights.places import bundled_folder


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, ["finetune", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def errors(result: Result) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"local:{make_encoder(labels=None).save(tmp_path_factory.mktemp('models') / 'tiny')}"


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """CLASS/PERSON/*.npz: two classes, three persons, two recordings each, without labels in the files."""
    for name in ("walk", "wave"):
        for person in range(3):
            folder = tmp_path / "takes" / name / f"person{person}"
            folder.mkdir(parents=True)
            for k in range(2):
                clip = make(name, frames=30, seed=10 * person + k)
                skelzoo.save_clips(folder / f"take{k}.npz", [clip.replace(label=None, name=f"{name}{person}{k}")])
    return tmp_path / "takes"


def found(path: object, group: str | None = None, select_persons: bool = False, label: str | None = None, **rule: Any) -> tuple[list[LabelledClip], list[str]]:
    items = list(labelled_files(Labels(str(path), group, label, **rule), CONTRACT, select_persons))
    return [i for i in items if isinstance(i, LabelledClip)], [str(i) for i in items if isinstance(i, Refusal)]


def test_the_class_is_the_folder_and_the_group_what_the_pattern_finds(recordings: Path) -> None:
    clips, refused = found(recordings, r"person(\d)")
    assert not refused and [(c.clip.label, c.group) for c in clips] == [(name, str(p)) for name in ("walk", "wave") for p in range(3) for _ in range(2)]
    assert {c.group for c in found(recordings, r"person\d/take1")[0]} == {f"person{p}/take1" for p in range(3)} and len(found(recordings, "take1")[1]) == 6
    assert {c.group for c in found(recordings)[0]} == {""}
    assert {c.group for c in found(recordings, r"/wave(\d)\d$|walk")[0]} == {"0", "1", "2"}
    with pytest.raises(TrainingError, match=r"'\(' is no regular expression"):
        found(recordings, "(")


def test_the_class_is_what_a_pattern_finds(recordings: Path) -> None:
    clips, refused = found(recordings, r"^(\w+)/", label=r"/(person\d)/")
    assert not refused and {(c.clip.label, c.group) for c in clips} == {(f"person{p}", name) for p in range(3) for name in ("walk", "wave")}
    assert "the label pattern 'nowhere' fits nothing in 'walk/person0/take0.npz/walk00'" in found(recordings, label="nowhere")[1][0]


def test_folders_and_files_that_disagree_are_refused_until_one_is_chosen(model: str, tmp_path: Path) -> None:
    """One file of labelled clips per patient: no patient becomes a class, and one rule holds for all files."""
    for patient in ("p1", "p2"):
        (tmp_path / "takes" / patient).mkdir(parents=True)
        clips = [make_clip(i).replace(label="sit" if patient == "p1" or i % 2 else "stand", name=f"{patient}-{i}") for i in range(4)]
        skelzoo.save_clips(tmp_path / "takes" / patient / "all.npz", [*clips, make_clip(9)])
    with pytest.raises(TrainingError, match=r"p1.all\.npz: its folder says that p1-0 is of the class 'p1', the file itself says 'sit'.*--label-from file"):
        found(tmp_path / "takes")
    clips_of_files, refused = found(tmp_path / "takes", label_from="file")
    assert [c.clip.label for c in clips_of_files] == ["sit"] * 4 + ["stand", "sit"] * 2 and ["clip9: has no label of its own" in r for r in refused] == [
        True
    ] * 2
    assert [c.clip.label for c in found(tmp_path / "takes", label_from="folder")[0]] == ["p1"] * 5 + ["p2"] * 5
    with pytest.raises(TrainingError, match="cannot be taken from 'files'"):
        found(tmp_path / "takes", label_from="files")
    arguments = (model, tmp_path / "takes", "--mode", "linear", "--epochs", 1, "--device", "cpu", "--out", tmp_path / "mine")
    assert "--label-from folder" in run(*arguments).stderr and not (tmp_path / "mine").exists()
    assert "Give one of --label, --label-from and --labels" in run(*arguments, "--label-from", "file", "--label", "p").stderr
    run(*arguments, "--label-from", "file")
    assert skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").labels == ("sit", "stand")
    said = CliRunner().invoke(main, ["classify", f"local:{tmp_path / 'mine'}", str(tmp_path / "takes"), "-o", str(tmp_path / "out.csv"), "--device", "cpu"])
    assert "of 8 clips with a label of the model's" in said.stdout
    assert [row["label"] for row in csv.DictReader((tmp_path / "out.csv").open())] == [*["sit"] * 4, "", *["stand", "sit"] * 2, ""]


def test_a_table_gives_labels_and_groups(model: str, recordings: Path, tmp_path: Path) -> None:
    files = sorted(p.relative_to(recordings).as_posix() for p in recordings.rglob("*.npz"))
    table = tmp_path / "labels.csv"
    table.write_text("file,label,group\n" + "".join(f"{f},{'odd' if '1.npz' in f else 'even'},{f.split('/')[1]}\n" for f in files[1:]) + "gone.npz,odd,x\n")
    clips, refused = found(recordings, table=table)
    assert {(c.clip.label, c.group) for c in clips} == {(label, f"person{i}") for label in ("odd", "even") for i in range(3)} and len(clips) == 11
    assert "walk00: is not in" in refused[0] and "1 of its rows name no recording that was read, the first 'gone.npz'" in refused[1] and len(refused) == 2
    result = run(model, recordings, "--labels", table, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--device", "cpu")
    assert "groups held out: person" in result.stdout and skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").labels == ("even", "odd")
    for text, says in (
        ("name,label\na,b\n", "has the columns label, name"), (f"file,label\n{files[0]},\n", "line 2: a place is empty"),
        (f"file,label\n{files[0]},a\n{files[0]},b\n", "line 3: .* stands there twice"),
        ("", "cannot be read as a table .*Give a CSV"),
    ):  # fmt: skip
        table.write_text(text)
        with pytest.raises(TrainingError, match=says):
            found(recordings, table=table)


@pytest.mark.parametrize(
    ("separator", "encoding", "header"),
    [
        (";", "latin-1", "file;label;group"),
        ("\t", "utf-16", "File\tLabel\tGroup"),
        (",", "utf-8-sig", "file, label, group"),
        (",", "utf-8", "Label,note,File ,GROUP"),
    ],
)
def test_tables_as_spreadsheets_save_them(recordings: Path, tmp_path: Path, separator: str, encoding: str, header: str) -> None:
    files, table = sorted(p.relative_to(recordings).as_posix() for p in recordings.rglob("*.npz")), tmp_path / "labels.csv"
    columns = [name.strip().lower() for name in header.split(separator)]
    rows = [{"file": f.replace("/", "\\"), "label": "übung" if "1.npz" in f else "even", "group": f.split("/")[1], "note": ""} for f in files]
    lines = [header, *((separator + " " * header.count(", ")).join(row[c] for c in columns) for row in rows), separator * 2]
    table.write_bytes("\r\n".join(lines).encode(encoding))
    clips, refused = found(recordings, table=table)
    assert not refused and [(c.clip.label, c.group) for c in clips] == [(row["label"], row["group"]) for row in rows]


@pytest.mark.parametrize(("here", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_look_alike_are_one(tmp_path: Path, here: Literal["NFC", "NFD"], there: Literal["NFC", "NFD"]) -> None:
    """As Macs write them and as others do: files and tables, classes and groups."""
    (one, label), other = (normalize(here, name) for name in ("Müller", "Übung")), normalize(there, "Müller")
    for folder, name in ((label, one), (normalize(there, label), f"2 {other}")):
        (tmp_path / "takes" / folder).mkdir(parents=True)
        skelzoo.save_clips(tmp_path / "takes" / folder / f"{name}.npz", make_clip().replace(label=None, name="take"))
    by_folder, refused = found(tmp_path / "takes", f"(M{normalize(there, 'ü')}ller)")
    assert not refused and {(c.clip.label, c.group) for c in by_folder} == {("Übung", "Müller")}
    files = [normalize(there, path.relative_to(tmp_path / "takes").as_posix()) for path in (tmp_path / "takes").rglob("*.npz")]
    (tmp_path / "labels.csv").write_text("file,label,group\n" + "".join(f"{f},{name},{name}\n" for f, name in zip(files, (one, other), strict=True)), "utf-8")
    by_table, refused = found(tmp_path / "takes", table=tmp_path / "labels.csv")
    assert not refused and [(c.clip.label, c.group) for c in by_table] == [("Müller", "Müller")] * 2


def test_a_row_of_a_recording_that_is_refused_is_not_said_to_name_none(recordings: Path, tmp_path: Path) -> None:
    files = sorted(p.relative_to(recordings).as_posix() for p in recordings.rglob("*.npz"))
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{f},{'odd' if '1.npz' in f else 'even'}\n" for f in files) + "walk/broken.bvh,odd\nwalk/crowd.npz/clip0,odd\n")
    (recordings / "walk/broken.bvh").write_text("HIERARCHY")
    skelzoo.save_clips(recordings / "walk/crowd.npz", [make_clip(persons=3)])
    clips, refused = found(recordings, table=table)
    assert len(clips) == 12 and len(refused) == 2 and "broken.bvh" in refused[0] and "3 persons" in refused[1]
    made = make_own_corpus(recordings, to=tmp_path / "own.npz", table=table)
    assert len(made.refused) == 2 and not any("names no recording" in str(bad) for bad in made.refused)


def test_recordings_of_ones_own_to_validate_on(model: str, recordings: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shutil.copytree(recordings, tmp_path / "data" / part)
    shutil.rmtree(tmp_path / "data/val/walk/person0")
    arguments = (model, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--device", "cpu", tmp_path / "data")
    assert (
        f"not classes. Give the part to train on, and the one to validate on with --validation: {tmp_path}/data/train --validation {tmp_path}/data/val"
        in run(*arguments).stderr
    )
    result = run(*arguments[:-1], tmp_path / "data/train", "--validation", tmp_path / "data/val")
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:3]] == [["walk", "6", "4"], ["wave", "6", "6"]], result.stderr
    shutil.move(tmp_path / "data/val", tmp_path / "data/train/held")
    again = run(*arguments[:-1], tmp_path / "data/train", "--overwrite", "--validation", tmp_path / "data/train/held")
    assert again.stdout.splitlines()[1:3] == result.stdout.splitlines()[1:3]
    assert "recordings to validate on go without groups" in run(*arguments, "--overwrite", "--validation", tmp_path).stderr
    nothing = run(*arguments[:-1], recordings, "--overwrite", "--validation", "nowhere")
    assert nothing.exit_code == 1 and "nowhere: no clip to validate on could be used" in nothing.stderr


def test_a_model_is_not_replaced_unless_asked(model: str, recordings: Path, tmp_path: Path) -> None:
    arguments = (model, recordings, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--device", "cpu")
    assert run(*arguments).exit_code == 0
    before = (tmp_path / "mine/model.safetensors").read_bytes()
    again = run(*arguments, "--seed", 1)
    assert again.exit_code == 1 and "mine: holds a model. Choose another name, or give --overwrite" in again.stderr
    assert (tmp_path / "mine/model.safetensors").read_bytes() == before
    assert run(*arguments, "--seed", 1, "--overwrite").exit_code == 0 and (tmp_path / "mine/model.safetensors").read_bytes() != before


def test_classes_of_folders_count_in_classify_and_other_files_are_named(model: str, recordings: Path, tmp_path: Path) -> None:
    (recordings / "walk/notes.csv").write_text("a,b")
    trained = run(model, recordings, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--device", "cpu")
    assert trained.exit_code == 0 and "note: 1 files are of no format that is read: 1 .csv" in trained.stderr
    result = CliRunner().invoke(main, ["classify", f"local:{tmp_path / 'mine'}", str(recordings), "-o", str(tmp_path / "out.csv"), "--device", "cpu"])
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["label"] for row in rows] == ["walk"] * 6 + ["wave"] * 6
    right = sum(row["label"] == row["class_1"] for row in rows)
    assert "note" in result.stderr and ".csv" in result.stderr
    assert f"{right} of 12 clips with a label of the model's are classified so ({100 * right / 12:.1f} %)" in result.stdout


def test_what_cannot_be_used_is_named_and_passed_over(recordings: Path) -> None:
    (recordings / "walk/broken.bvh").write_text("HIERARCHY")
    skelzoo.save_clips(recordings / "walk/crowd.npz", [make_clip(persons=3)])
    skelzoo.save_clips(recordings / "loose.npz", [make_clip(1), make_clip(2).replace(label="wave")])
    clips, refused = found(recordings)
    assert len(clips) == 13 and clips[0].clip.label == "wave" and clips[0].clip.name == "clip2"
    assert len(refused) == 3 and "clip1: has no label, and lies in no folder named after its class" in refused[0]
    assert "broken.bvh" in refused[1] and "3 persons" in refused[2] and "crowd.npz" in refused[2]
    assert len(found(recordings, select_persons=True)[1]) == 2
    assert "crowd.npz/clip0" in found(recordings, "take", select_persons=True)[1][-1]


def test_finetune_writes_a_model_that_knows_the_classes(model: str, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    result = run(model, recordings, "--out", out, "--mode", "linear", "--epochs", 3, "--group", r"person(\d)", "--device", "cpu", "--select-persons")
    assert result.exit_code == 0 and result.stderr == ""
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["class", "training", "clips", "validation", "clips", "right"]
    assert [row[:3] for row in rows[1:3]] == [["walk", "4", "2"], ["wave", "4", "2"]]
    assert "validation accuracy" in result.stdout and "groups held out: " in result.stdout and f"local:{out}" in result.stdout
    assert skelzoo.load(f"local:{out}", device="cpu").labels == ("walk", "wave")
    text = (out / "README.md").read_text()
    command = f"skelzoo finetune {model} {recordings} --out {out} --mode linear --epochs 3 --group 'person(\\d)' --device cpu --select-persons"
    assert command in text and f"from `{model}` on 8 clips of 2 classes" in text and "see the card of `local:" in text
    assert "\n".join(result.stdout.splitlines()[:3]) in text


def test_a_bundled_start_passes_its_licence_on(recordings: Path, tmp_path: Path) -> None:
    """Also when what came of it is fine-tuned again, over itself."""
    said = "CC-BY-NC-4.0. Part of the training data, the Bandai-Namco-Research-Motiondataset, is CC BY-NC 4.0. What the recordings' licence asks"
    for start in ("skeattnclr-openskel", f"local:{tmp_path / 'mine'}", f"local:{tmp_path / 'mine'}"):
        assert run(start, recordings, "--out", tmp_path / "mine", "--overwrite", "--mode", "linear", "--epochs", 1, "--device", "cpu").exit_code == 0
        assert said in (tmp_path / "mine/README.md").read_text()


def test_licence_and_numbers_stay_with_weights_that_are_saved_from_python(tmp_path: Path) -> None:
    """The card of the start, then that of the fine-tuning; of weights that somebody changed the licence alone."""
    start, clips = skelzoo.load("skeattnclr-openskel", device="cpu"), [make("wave", seed=s, frames=20).replace(label="ab"[s % 2]) for s in range(4)]
    assert (start.save(tmp_path / "copy") / "README.md").read_bytes() == (bundled_folder("skeattnclr-openskel") / "README.md").read_bytes()
    tuned = finetune(start, clips, mode="linear", options=FinetuneOptions(epochs=1, seed=3)).encoder
    text = (tuned.save(tmp_path / "tuned") / "README.md").read_text()
    licence = "Training started from weights under CC-BY-NC-4.0."
    assert licence in text and "validation accuracy" in text and "mode='linear', options=FinetuneOptions(epochs=1, seed=3)" in text
    again = skelzoo.load(f"local:{tmp_path / 'tuned'}", device="cpu")
    assert (
        again.card == text
        and finetune(again, clips, mode="linear", validation=0, options=FinetuneOptions(epochs=1)).encoder.card.count("Training started from") == 1
    )
    with torch.no_grad():
        again.net.head.bias.add_(1)
    for card in (again.card, skelzoo.load(f"local:{tmp_path / 'tuned'}", device="cpu", num_classes=5).card):
        assert licence in card and "validation accuracy" not in card


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_copies_keep_the_card_for_as_long_as_the_weights(copied: Callable[[skelzoo.Encoder], skelzoo.Encoder]) -> None:
    start, clips = skelzoo.load("skeattnclr-openskel", device="cpu"), [make("wave", seed=s, frames=20) for s in range(2)]
    vectors = start.embed(clips)
    other = copied(start)
    assert other.card == start.card and np.array_equal(other.embed(clips), vectors)
    with torch.no_grad():
        other.net.head.bias.add_(1)
    changed = other.card
    assert len(changed) < len(skelzoo.load("skeattnclr-openskel", device="cpu").card) / 2 and copied(other).card == changed


def test_classes_taken_for_each_other_are_shown(model: str, tmp_path: Path) -> None:
    """The same clips under two names: no head can be right about more than half of them."""
    for name in ("one", "two"):
        (tmp_path / "takes" / name).mkdir(parents=True)
        skelzoo.save_clips(tmp_path / "takes" / name / "all.npz", [make_clip(s) for s in range(10)])
    result = run(model, tmp_path / "takes", "--out", tmp_path / "mine", "--epochs", 2, "--validation", 0.5, "--seed", 3, "--device", "cpu")
    pairs = [line for line in result.stdout.splitlines() if "taken for" in line]
    assert 1 <= len(pairs) <= 2 and all(" of 5 clips of " in line for line in pairs)
    assert "held out one by one" in result.stdout


def test_finetune_on_a_corpus_file(model: str, tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 6)
    path = write_corpus(tmp_path / "corpus.npz", [make_clip(int(i) + 2 * k) for k, i in enumerate(labels)], labels)
    result = run(model, path, "--out", tmp_path / "mine", "--epochs", 1, "--validation", 0, "--freeze", 9, "--learning-rate", 0.01, "--device", "cpu")
    assert result.exit_code == 0 and "no validation part; weights of the last of 1 epochs" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[1:3]] == [["class0", "6", "0", "-"], ["class1", "6", "0", "-"]]
    tuned, start = skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu"), skelzoo.load(model, device="cpu")
    assert tuned.net.backbone.blocks[8].norm1.weight.equal(start.net.backbone.blocks[8].norm1.weight)
    assert not tuned.net.backbone.blocks[9].norm1.weight.equal(start.net.backbone.blocks[9].norm1.weight)


def test_finetune_goes_on_past_bad_files_and_says_so(model: str, recordings: Path, tmp_path: Path) -> None:
    (recordings / "walk/broken.bvh").write_text("HIERARCHY")
    result = run(model, recordings, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--device", "cpu")
    assert result.exit_code == 1 and (tmp_path / "mine/model.safetensors").is_file()
    assert "broken.bvh" in errors(result)[0] and "1 file(s) or clip(s) left out, 12 clip(s) done" in errors(result)[1]


def test_recordings_in_python_give_what_the_command_gives(model: str, recordings: Path, tmp_path: Path) -> None:
    (recordings / "walk/broken.bvh").write_text("HIERARCHY")
    run(model, recordings, "--out", tmp_path / "mine", "--mode", "linear", "--epochs", 1, "--group", r"person(\d)", "--device", "cpu")
    start, settings = skelzoo.load(model, device="cpu"), {"mode": "linear", "group": r"person(\d)", "options": FinetuneOptions(epochs=1)}
    with pytest.warns(UserWarning, match="left out: .*broken.bvh") as told:
        done = finetune_recordings(start, recordings, **settings)
    assert [warning.filename for warning in told if "left out" in str(warning.message)] == [__file__]
    assert [Path(bad.file).name for bad in done.left_out] == ["broken.bvh"] and len(done.clips) == 12 and done.result.held_out and not done.report
    clips = [c.clip for c in done.clips]
    assert np.array_equal(skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").classify(clips).scores, done.result.encoder.classify(clips).scores)
    crossed = finetune_recordings(start, recordings, **settings, folds="groups", report=tmp_path / "r.csv", on_left_out=lambda _: None)
    assert crossed.result.cross_validation is not None and [p.name for p in crossed.report] == ["r.csv", "r.confusion.csv"]
    for wrong in ({"folds": 2, "validation": 0.3}, {"report": tmp_path / "x.csv"}):
        with pytest.raises(TrainingError, match="report goes with folds, and folds without validation"):
            finetune_recordings(start, recordings, **settings, **wrong)


def test_help_tells_the_defaults_of_the_options() -> None:
    told = {p.name: p.default for p in main.commands["finetune"].params if getattr(p, "show_default", False)}
    names = {f.name for f in dataclasses.fields(FinetuneOptions)} & {p.name for p in main.commands["finetune"].params}
    assert {name: told[name] for name in names} == {name: getattr(FinetuneOptions(), name) for name in names} and {"epochs", "learning_rate", "seed"} < names


def test_finetune_refuses_before_any_work(model: str, recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy/thesis.txt").write_text("")
    for args, problem in (
        (["local:nowhere", recordings, "--out", tmp_path / "busy"], "exists and is not a weights folder"),
        ([model, recordings, "--out", tmp_path / "new", "--freeze", "most"], "freeze is 'most'"),
        ([model, recordings, "--out", tmp_path / "new", "--mode", "semi"], "semi is PSP's objective"),
        ([model, recordings, "--out", tmp_path / "new", "--unlabelled", recordings], "does not use unlabelled clips"),
        ([model, recordings, "--out", tmp_path / "new", "--learning-rate", -1], "learning_rate is -1"),
        ([model, recordings / "walk/*", "--out", tmp_path / "new"], "does not tell which folders are classes. Give the folder above the class folders"),
        ([model, tmp_path / "none", "--out", tmp_path / "new"], "no such file or folder"),
    ):
        result = run(*args, "--device", "cpu")
        assert result.exit_code == 1 and problem in result.stderr, (problem, result.stderr)
    assert not (tmp_path / "new").exists()
    assert run(model, recordings).exit_code == 2 and run(model, recordings, "--out", tmp_path / "new", "--mode", "half").exit_code == 2


@pytest.mark.needs_shared
def test_real_recordings_of_utd_mhad(shared: Path, tmp_path: Path) -> None:
    """Eight persons, three gestures, four takes each; two persons are held out."""
    clips = [c for c in skelzoo.read(shared / "data/utd_mhad.npz") if c.label in ("wave", "clap", "arm curl")]
    for clip in clips:
        folder = tmp_path / "takes" / str(clip.label)
        folder.mkdir(parents=True, exist_ok=True)
        skelzoo.save_clips(folder / f"{clip.name}.npz", [clip])
    result = run("skeattnclr-openskel", tmp_path / "takes", "--out", tmp_path / "mine", "--mode", "linear", "--group", r"_s(\d+)_", "--device", "cpu")
    assert result.exit_code == 0, result.output
    accuracy = float(result.stdout.split("validation accuracy ")[1].split(" %")[0])
    assert accuracy > 80 and "groups held out" in result.stdout
    assert skelzoo.load(f"local:{tmp_path / 'mine'}", device="cpu").labels == ("arm curl", "clap", "wave")


@pytest.mark.parametrize("name", ["hdm05_subset.npz", "mine.npz"])
def test_test_clips_of_a_benchmark_among_the_recordings_are_told_and_refused_later(tmp_path: Path, model: str, name: str) -> None:
    data = write_benchmarks(tmp_path / "data")
    if name == "mine.npz":
        table = read_corpus(data / "hdm05_subset.npz")
        save_corpus(data / name, dataclasses.replace(table, clips=tuple(c.replace(name=f"x{i}") for i, c in enumerate(table.clips))))
    result = run(model, data / name, "--out", tmp_path / "tuned", "--mode", "linear", "--epochs", 1)
    told = "The recordings hold 16 of the 16 different test clips of hdm05, so no number of this model counts there."
    assert result.exit_code == 0 and f"warning: {told}" in result.stderr and told in (tmp_path / "tuned/README.md").read_text()
    with pytest.warns(UserWarning, match=r"test clips of nwucla, "):
        done = finetune_recordings(
            skelzoo.load(f"local:{tmp_path}/tuned", device="cpu"), data / "nw_ucla.npz", mode="linear", options=FinetuneOptions(epochs=1)
        )
    done.result.encoder.save(tmp_path / "again")
    for benchmark in ("hdm05", "nwucla", "nwucla-2d"):
        with pytest.raises(TrainingError, match=f"its card says: The recordings hold .* of {benchmark.removesuffix('-2d')}, "):
            evaluate(f"local:{tmp_path}/again", benchmark, data, ["knn"], device="cpu")
    assert evaluate(f"local:{tmp_path}/again", "utdmhad", data, ["knn"], device="cpu")


def test_recordings_beside_a_benchmark_are_not_its_test_clips(tmp_path: Path, recordings: Path, model: str) -> None:
    (recordings / "walk/person0/utd_mhad.npz").write_bytes((recordings / "walk/person0/take0.npz").read_bytes())  # another file of that name
    write_benchmarks(recordings / "walk/person1", files=["hdm05_subset.npz"])
    shutil.move(recordings / "walk/person1/hdm05_subset.npz", recordings / "walk/person1/x.npz")
    clips, _ = found(recordings, label_from="folder")
    shutil.move(recordings / "walk/person1/x.npz", recordings / "walk/person1/hdm05_subset.npz")
    assert seen_tests(c for c in clips if not c.file.endswith("x.npz")) == ()
    assert len(seen_tests(clips)) == 1
