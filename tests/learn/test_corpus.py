"""Building the pretraining corpora: from ready files, from original recordings, and the table of their clips."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny import make_clip

from skelzoo import Clip, get_layout
from skelzoo.cli import main
from skelzoo.errors import ClipError, ReadError, TrainingError, WriteError
from skelzoo.learn.benchmarks import joints_hash, standard_clips
from skelzoo.learn.corpus import ClipRow, build_corpus, find_corpus
from skelzoo.learn.held_out import held_out
from skelzoo.learn.originals import Original, Recording, Source, make_corpus
from skelzoo.learn.recipe import load_recipe, shipped_recipes
from skelzoo.skeleton.io import find_files
from skelzoo.skeleton.io.corpus import MARK, Corpus, read_corpus, save_corpus
from skelzoo.weights.manifest import manifest

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPEN = find_corpus("openskel")


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def corpus_of(file: str, clips: list[Clip], **changes: object) -> Corpus:
    """A small corpus file of the right layout and texts, as `corpus build` makes it."""
    source: Source = OPEN.files[file]
    labels = [label for label in source.clips for _ in source.clips[label]] or ["deep squat" if "uiprmd" in file else "walk"] * len(clips)
    columns = {"style": "exhausted", "dataset": 1} if file == "bandai_namco.npz" else {"is_correct": 1}
    recordings = [
        Recording(Original(Path(c.name), c.name, label, i, columns=columns), c, 0.1) for i, (c, label) in enumerate(zip(clips, labels, strict=False), 1)
    ]
    return dataclasses.replace(make_corpus(Path(file).stem, source, recordings)[0], **changes)


def body(file: str, seed: int) -> Clip:
    return make_clip(seed, layout=OPEN.files[file].layout)


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """Every file of openskel with 12 made-up clips; in UI-PRMD the last has the joints of that of subject 9."""
    (tmp_path / "ready").mkdir()
    for k, file in enumerate(OPEN.files):
        clips = [body(file, 20 * k + i) for i in range(12)]
        if file == "uiprmd_kinect.npz":
            clips[11] = clips[8].replace(name="again")
        save_corpus(tmp_path / "ready" / file, corpus_of(file, clips))
    return tmp_path / "ready"


def run(*args: object) -> Result:
    result = CliRunner().invoke(main, ["corpus", "build", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_ready_files_are_checked_and_copied(ready: Path, tmp_path: Path) -> None:
    report = build_corpus("openskel", [ready], tmp_path / "to")
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == sorted([*OPEN.files, "clips.csv"])
    assert all((tmp_path / "to" / f).read_bytes() == (ready / f).read_bytes() for f in OPEN.files)
    assert not report.missing and not report.refused and not report.skipped and {f.file: f.clips for f in report.files} == dict.fromkeys(OPEN.files, 12)
    assert build_corpus("openskel", [tmp_path / "to"], tmp_path / "to").roles == report.roles  # onto itself


def test_the_table_says_licence_role_and_hash_of_every_clip(ready: Path, tmp_path: Path) -> None:
    report = build_corpus("openskel", [ready], tmp_path / "to")
    rows = rows_of(tmp_path / "to")
    assert list(rows[0]) == [f.name for f in dataclasses.fields(ClipRow)] and len(rows) == 60
    for row in rows:
        table = read_corpus(tmp_path / "to" / row["file"])
        i = table.clip_names.index(row["clip"])
        expected = [row["corpus"], table.clips[i].label, str(table.subject[i]), str(table.clips[i].frames), table.licence, table.citation, table.origin]
        assert [row[k] for k in ("corpus", "label", "subject", "frames", "licence", "citation", "origin")] == expected and row["corpus"] == "openskel"
        assert row["sha256"] == joints_hash(table.clips[i])
        assert row["commercial_use"] == ("no" if row["file"] == "bandai_namco.npz" else "yes")
    kept_back = {(r["file"], r["clip"]) for r in rows if r["role"] == "held out"}
    uiprmd = {c for f, c in kept_back if f == "uiprmd_kinect.npz"}
    assert uiprmd == {"clip8", "clip9", "again"}  # subjects 9 and 10, and the clip with the joints of subject 9
    bandai = read_corpus(tmp_path / "to/bandai_namco.npz")
    tenth = {name for name, out in zip(bandai.clip_names, held_out(bandai, {"share": 0.1}), strict=True) if out}
    assert tenth and {c for f, c in kept_back if f == "bandai_namco.npz"} == tenth
    assert {c for f, c in kept_back if f == "cmu_subset.npz"} == {"clip46"}  # subject 7; 16 is not there
    assert report.roles == {"train": 60 - len(kept_back), "held out": len(kept_back)}


def test_the_free_corpus_takes_nothing_that_is_not_free(ready: Path, tmp_path: Path) -> None:
    build_corpus("openskel-free", [ready], tmp_path / "to")
    rows = rows_of(tmp_path / "to")
    assert not (tmp_path / "to/bandai_namco.npz").exists() and len(rows) == 48 and {r["commercial_use"] for r in rows} == {"yes"}
    with pytest.raises(TrainingError, match=r"bandai_namco\.npz may not be used commercially"):
        dataclasses.replace(OPEN, commercial_use=True)


@pytest.mark.parametrize(("change", "says"), [({"licence": "CC BY-NC 4.0"}, "its licence is 'CC BY-NC 4.0'"), (None, "its layout is 'bandai21'")])
def test_another_file_under_the_name_of_a_free_one_is_refused(ready: Path, tmp_path: Path, change: dict[str, str] | None, says: str) -> None:
    file = "cmu_daz.npz"
    if change is None:
        shutil.copy(ready / "bandai_namco.npz", ready / file)
    else:
        save_corpus(ready / file, corpus_of(file, [body(file, 1)], **change))
    report = build_corpus("openskel-free", [ready], tmp_path / "to")
    assert [says in str(r) and file in str(r) for r in report.refused] == [True] and report.missing == (file,)
    assert not (tmp_path / "to" / file).exists() and not any(r["file"] == file for r in rows_of(tmp_path / "to"))
    shutil.copy(ready / file, tmp_path / "to" / file)
    (ready / file).unlink()
    with pytest.raises(ReadError, match=re.escape(says)):
        build_corpus("openskel-free", [ready], tmp_path / "to")


def test_a_corpus_is_built_in_parts_and_a_bad_file_stops_nothing(ready: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for i, file in enumerate(OPEN.files):
        (ready / file).rename(tmp_path / ("one" if i < 2 else "two") / file)
    (tmp_path / "two/cmu_iclone.npz").write_bytes(b"PK\x03\x04 cut off")
    first = run("openskel", "--from", tmp_path / "one", "--to", tmp_path / "to")
    assert first.exit_code == 1 and first.stderr == "error: nothing was found of cmu_subset.npz, cmu_daz.npz, cmu_iclone.npz.\n"
    second = run("openskel", "--from", tmp_path / "two", "--to", tmp_path / "to")
    assert second.exit_code == 1 and "uiprmd_kinect.npz: 12 of 2000 clips, as it was" in second.stdout
    assert second.stderr.count("error: ") == 2 and "cmu_iclone.npz" in second.stderr and len(rows_of(tmp_path / "to")) == 48
    assert "weights trained on openskel: CC-BY-NC-4.0, no commercial use" in second.stdout


def test_the_command_ends_well_when_everything_is_there(ready: Path, tmp_path: Path) -> None:
    result = run("openskel-free", "--from", ready, "--to", tmp_path / "to")
    assert result.exit_code == 0 and result.stderr == ""
    assert "cmu_daz.npz: 12 of 43 clips, copied from" in result.stdout and "skipped 1 file(s): by its name and folder no clip of the corpus" in result.stdout


def test_what_cannot_be_built(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no corpus 'openskeleton'\. Known: openskel, openskel-free"):
        build_corpus("openskeleton", [ready], tmp_path / "to")
    with pytest.raises(ReadError, match="no such file or folder"):
        build_corpus("openskel", [tmp_path / "nowhere"], tmp_path / "to")
    (tmp_path / "to").write_text("in the way")
    with pytest.raises(WriteError, match="is a file, not a folder"):
        build_corpus("openskel", [ready], tmp_path / "to")
    assert (tmp_path / "to").read_text() == "in the way"


# corpus file, clip, columns that must be equal too
REAL = [
    ("uiprmd_kinect.npz", ["m01_s01_e01", "m03_s02_e04_inc", "m05_s10_e10_inc", "m07_s03_e02"], ["is_correct"]),
    ("bandai_namco.npz", [p.removesuffix(".bvh") for p in (
        "dataset-1_bye_happy_001.bvh", "dataset-1_walk-back_normal_001.bvh", "dataset-2_raise-up-left-hand_normal_001.bvh", "dataset-2_wave-right-hand_elderly_001.bvh")],
        ["style", "dataset"]),
    ("cmu_subset.npz", ["02_03", "35_17"], ["repaired"]),
    ("cmu_iclone.npz", ["06_09"], []),
]  # fmt: skip


@pytest.mark.needs_shared
def test_originals_become_the_clips_of_the_corpus(shared: Path, tmp_path: Path) -> None:
    report = build_corpus("openskel", [shared / "data/raw"], tmp_path)
    assert report.missing == ("cmu_daz.npz",) and not report.refused
    assert report.skipped == {"another file of the same clip was taken": 1, "by its name and folder no clip of the corpus": 17}
    for file, names, columns in REAL:
        ours, theirs = read_corpus(tmp_path / file), read_corpus(shared / "data" / file)
        assert sorted(ours.clip_names) == sorted(names) and ours.layout is theirs.layout and ours.licence == theirs.licence
        assert ours.label_names == theirs.label_names
        for i, name in enumerate(ours.clip_names):
            j = theirs.clip_names.index(name)
            difference = np.abs(ours.clips[i].keypoints - theirs.clips[j].keypoints)
            assert difference.max() < 0.0011 and (difference > 0).mean() < 1e-3
            assert ours.max_step[i] == pytest.approx(theirs.max_step[j], abs=1e-6)
            for column in ("label", "subject", "split", "flags"):
                assert getattr(ours, column)[i] == getattr(theirs, column)[j], (name, column)
            assert all(ours.extra[c][i] == theirs.extra[c][j] for c in [*columns, "zero_frames"])
        with np.load(tmp_path / file) as a, np.load(shared / "data" / file) as b:
            assert set(b.files) - set(a.files) <= {"description", "repo"} and set(a.files) <= set(b.files)
            assert all(a[k].dtype.kind == b[k].dtype.kind and a[k].ndim == b[k].ndim for k in a.files if k != MARK)
            assert "style_names" not in b.files or a["style_names"].tolist() == b["style_names"].tolist()


@pytest.mark.needs_shared
@pytest.mark.parametrize("folder", ["bandai_bvh", "cmu_*", "uiprmd"])
def test_a_corpus_file_made_in_parts_is_that_made_at_once(shared: Path, tmp_path: Path, folder: str) -> None:
    files = find_files(shared / "data/raw" / folder / "*")
    for _ in range(2):  # once more, and nothing changes
        for part in (files[1::2], files[::2]):
            report = build_corpus("openskel", part, tmp_path / "parts")
    build_corpus("openskel", files, tmp_path / "whole")
    assert "clips that were there" in str(report)
    for file in (made.file for made in report.files):
        with np.load(tmp_path / "parts" / file) as a, np.load(tmp_path / "whole" / file) as b:
            assert a.files == b.files and all(np.array_equal(a[key], b[key]) for key in a.files)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")


def test_a_ready_file_that_lacks_clips_of_the_one_that_is_there_is_refused(ready: Path, tmp_path: Path) -> None:
    file, less = "cmu_daz.npz", tmp_path / "less"
    less.mkdir()
    save_corpus(less / file, corpus_of(file, [body(file, 60 + i) for i in range(12) if i != 4]))
    build_corpus("openskel-free", [ready], tmp_path / "to")
    report = build_corpus("openskel-free", [less], tmp_path / "to")
    assert [f"lacks 1 clip(s) of {tmp_path / 'to' / file}" in str(r) and "clip64" in str(r) for r in report.refused] == [True]
    assert (tmp_path / "to" / file).read_bytes() == (ready / file).read_bytes()
    assert build_corpus("openskel-free", [ready, less], tmp_path / "other").skipped[f"there is another ready {file}"] == 1


@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "file", "found"), [("nwucla", "nw_ucla.npz", 6), ("utdmhad", "utd_mhad.npz", 4)])
def test_originals_become_the_clips_of_the_benchmark(shared: Path, tmp_path: Path, name: str, file: str, found: int) -> None:
    report = build_corpus(name, [shared / "data/raw"], tmp_path)
    assert not report.refused and report.table is None and [p.name for p in tmp_path.iterdir()] == [file]
    ours, theirs = read_corpus(tmp_path / file), read_corpus(shared / "data" / file)
    assert len(ours) == found and len(theirs) == report.files[0].size and ours.clip_names == tuple(sorted(ours.clip_names))
    for column in ("label_names", "layout", "licence", "citation", "notes"):
        assert getattr(ours, column) == getattr(theirs, column)
    for i, clip in enumerate(ours.clips):
        j = theirs.clip_names.index(clip.name)
        difference = np.abs(clip.keypoints - theirs.clips[j].keypoints)
        assert difference.max() < 0.0011 and (difference > 0).mean() < 2e-3  # halves of a millimetre, rounded in float32
        assert ours.max_step[i] == pytest.approx(theirs.max_step[j], abs=1e-6)
        assert all(getattr(ours, column)[i] == getattr(theirs, column)[j] for column in ("label", "subject", "split", "view", "flags")), clip.name


def test_files_of_benchmarks_know_view_subject_split_and_copies(tmp_path: Path) -> None:
    for name in ("a02_s03_e00_v01", "a02_s03_e00_v02", "a02_s03_e00_v03", "a08_s10_e01_v03", "a08_s10_e01_v01", "a07_s01_e00_v01"):
        seed = 7 if "a02" in name and "v01" not in name else sum(map(ord, name))
        (tmp_path / f"{name}.json").write_text(json.dumps({"file_name": name, "skeletons": make_clip(seed).keypoints[0].tolist()}))
    result = run("nwucla", "--from", tmp_path, "--to", tmp_path / "to")
    assert result.exit_code == 0 and "nw_ucla.npz: 5 of 1484 clips" in result.stdout and "skelzoo eval MODEL --on nwucla" in result.stdout
    table = read_corpus(tmp_path / "to/nw_ucla.npz")
    assert (table.view.tolist(), table.subject.tolist(), table.split.tolist()) == ([1, 2, 3, 1, 3], [3, 3, 3, 10, 10], [0, 0, 1, 0, 1])
    assert [c.label for c in table.clips] == ["pick up with two hands"] * 3 + ["donning"] * 2 and table.flags.tolist() == [0, 0, 64, 0, 0]
    split = standard_clips("nwucla", tmp_path / "to")
    assert len(split.train) == 3 and split.copies.tolist() == [True, False]


@pytest.mark.needs_shared
def test_the_table_of_the_real_corpora(shared: Path, tmp_path: Path) -> None:
    """Of the smaller files; no clip of them is there twice."""
    sources = [shared / "data" / file for file in ("cmu_subset.npz", "cmu_daz.npz", "cmu_iclone.npz")]
    report = build_corpus("openskel-free", sources, tmp_path)
    rows = rows_of(tmp_path)
    assert [(f.clips, f.size) for f in report.files] == [(144, 144), (43, 43), (13, 13)] and len({r["sha256"] for r in rows}) == 200
    assert {(r["file"], r["subject"]) for r in rows if r["role"] == "held out"} == {("cmu_subset.npz", "7"), ("cmu_subset.npz", "16")}
    listed = {(file, clip): label for file, s in OPEN.files.items() for label, clips in s.clips.items() for clip in clips}
    assert {(r["file"], r["clip"]): r["label"] for r in rows} == listed


@pytest.mark.needs_shared
def test_amc_is_taken_before_bvh_and_a_bad_recording_gives_way_to_the_next(shared: Path, tmp_path: Path) -> None:
    raw, source = shared / "data/raw", tmp_path / "from"
    shutil.copytree(raw / "cmu_asf", source / "asf")
    shutil.copytree(raw / "cmu_bvh", source / "bvh")
    (source / "bvh/49_01.bvh").write_text("HIERARCHY of nothing")
    shutil.copy(raw / "cmu_bvh/006_09.bvh", source / "bvh/07_01.bvh")  # the rig of another corpus file under a name of this one
    good, bad = raw / "uiprmd/m01_s01_e01_positions.txt.gz", raw / "uiprmd/m01_s01_e01_angles.txt.gz"
    (source / "Vicon").mkdir()
    (source / "Kinect").mkdir()
    for path in (good, bad):
        shutil.copy(path, source / "Vicon")
        (source / "Kinect" / path.stem).write_bytes(gzip.decompress(path.read_bytes())[:-300])
    report = build_corpus("openskel-free", [source], tmp_path / "to")
    assert {f.file: f.clips for f in report.files} == {"uiprmd_kinect.npz": 1, "cmu_subset.npz": 2, "cmu_iclone.npz": 1}
    assert sorted(Path(r.file).name.replace("angles", "positions") for r in report.refused) == ["49_01.bvh", "m01_s01_e01_positions.txt"]
    assert report.skipped["its rig is not the cmu29 of the corpus"] == 1 and report.skipped["another file of the same clip was taken"] == 1
    table = read_corpus(tmp_path / "to/cmu_subset.npz")
    assert dict(zip(table.clip_names, table.extra["repaired"].tolist(), strict=True)) == {"02_03": 0, "35_17": 2}
    (source / "asf/02_03.amc").write_text("1\nroot 1 2 3\n")
    build_corpus("openskel-free", [source], tmp_path / "to")
    assert read_corpus(tmp_path / "to/cmu_subset.npz").extra["repaired"].tolist() == [2, 2]


def daz_bvh(frames: int, fps: float) -> str:
    """The joints of the DAZ rig, upright, the hip at one centimetre a frame along x."""
    layout = get_layout("daz29")
    children = {v: [u for u, p in enumerate(layout.parents) if p == v] for v in range(len(layout))}

    def joint(v: int) -> str:
        name, offset = layout.joints[v], f"OFFSET 0 {-40 if 'Shin' in layout.joints[v] or 'Foot' in layout.joints[v] else 15} 0"
        if name.endswith("_end"):
            end, stem = f"End Site {{ {offset} }}\n", name.removesuffix("_end")
            return end if layout.joints[layout.parents[v]] == stem else f"JOINT {stem} {{ {offset}\n{end}}}\n"
        channels = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation" if v == 0 else "CHANNELS 3 Zrotation Xrotation Yrotation"
        return f"{'ROOT' if v == 0 else 'JOINT'} {name} {{ {offset}\n{channels}\n{''.join(map(joint, children[v]))}}}\n"

    moving = sum(not j.endswith("_end") for j in layout.joints)
    motion = "\n".join(f"{t} 95 0 " + "0 " * 3 * moving for t in range(frames))
    return f"HIERARCHY\n{joint(0)}MOTION\nFrames: {frames}\nFrame Time: {1 / fps:.8f}\n{motion}\n"


def test_daz_recordings_lose_their_start_and_salsa_is_half_as_fast_as_it_says(tmp_path: Path) -> None:
    for name in ("salsa/01", "martial/03", "salsa/99"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"from/{name}.bvh").write_text(daz_bvh(41, 120))
    report = build_corpus("openskel-free", [tmp_path / "from"], tmp_path / "to")
    table = read_corpus(tmp_path / "to/cmu_daz.npz")
    assert table.clip_names == ("martial_03", "salsa_01") and [c.label for c in table.clips] == ["martial arts", "salsa dance"]
    assert sum(report.skipped.values()) == 1 and not report.refused
    for clip, step in zip(table.clips, (4, 2), strict=True):
        np.testing.assert_allclose(clip.keypoints[0, :, 0, 0], np.arange(12, 41, step) / 100, atol=1e-6)
    np.testing.assert_allclose(table.max_step, [0.04, 0.02], atol=1e-6)
    (tmp_path / "from/martial/04.bvh").write_text(daz_bvh(41, 50))
    (refusal,) = build_corpus("openskel-free", [tmp_path / "from"], tmp_path / "to").refused
    assert "04.bvh: is at 50 fps, which is no multiple of 30" in str(refusal)


def test_a_written_corpus_is_read_back(tmp_path: Path) -> None:
    far = make_clip(3)
    clips = [make_clip(1), far.replace(keypoints=far.keypoints + np.array([900, 0, -40])), make_clip(2).replace(label="walk")]
    made, _ = make_corpus("x", Source("", "kinect20", True, "a", "b", "c"), [Recording(Original(Path(), c.name, "run"), c, 0.5) for c in clips])
    corpus = dataclasses.replace(made, view=np.array([1, -1, 3], np.int32))
    save_corpus(tmp_path / "x.npz", corpus, {"colour_names": ["red", "blue"]})
    back = read_corpus(tmp_path / "x.npz")
    for read, written in zip(back.clips, corpus.clips, strict=True):
        np.testing.assert_allclose(read.keypoints, written.keypoints, atol=6e-4)
        assert (read.name, read.fps) == (written.name, 30)
    for field in ("label", "subject", "view", "split", "flags", "max_step"):
        assert np.array_equal(getattr(back, field), getattr(corpus, field))
    assert (back.licence, back.citation, back.notes, back.label_names) == ("a", "b", "c", corpus.label_names) and set(back.extra) == {"zero_frames"}
    assert np.load(tmp_path / "x.npz")["colour_names"].tolist() == ["red", "blue"]


@pytest.mark.parametrize("change", [{"fps": 25}, {"fps": None}, {"layout": "utdmhad20"}, {"channels": 2}, {"reach": 80}])
def test_clips_that_one_corpus_file_cannot_hold(tmp_path: Path, change: dict[str, object]) -> None:
    good, bad = make_clip(1), make_clip(2, channels=int(change.get("channels", 3)))
    bad.keypoints[0, 0, 0, 0] += float(change.get("reach", 0))
    bad = bad.replace(**{k: v for k, v in change.items() if k in ("fps", "layout")})
    corpus = corpus_of("uiprmd_kinect.npz", [body("uiprmd_kinect.npz", i) for i in range(2)])
    with pytest.raises(ClipError, match="clip2"):
        save_corpus(tmp_path / "x.npz", dataclasses.replace(corpus, layout=good.layout, clips=(good, bad)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("least", "most"), [(-31.9, 31.9), (-0.5, 33), (-33, 0.5), (-0.5, 60)])
def test_joints_at_the_ends_of_what_a_corpus_file_holds_are_read_back(tmp_path: Path, least: float, most: float) -> None:
    clip, corpus = make_clip(1), corpus_of("uiprmd_kinect.npz", [body("uiprmd_kinect.npz", 1)])
    clip.keypoints[0, 0, :2, 0] = least, most
    save_corpus(tmp_path / "x.npz", dataclasses.replace(corpus, layout=clip.layout, clips=(clip,)))
    np.testing.assert_allclose(read_corpus(tmp_path / "x.npz").clips[0].keypoints, clip.keypoints, atol=6e-4)


def test_flags() -> None:
    still = make_clip(0, frames=9)
    still.keypoints[:] = still.keypoints[:, :1]
    at_origin = make_clip(2, frames=9)
    at_origin.keypoints[0, 4, 3] = 0
    clips, steps = [make_clip(0, frames=7), make_clip(1, frames=1), still, at_origin, make_clip(3, frames=8)], [1, 0, 0, 1, 1]
    recordings = [Recording(Original(Path(), c.name, "run"), c, s) for c, s in zip(clips, steps, strict=True)]
    assert make_corpus("x", Source("", "kinect20", True, "", "", ""), recordings)[0].flags.tolist() == [4, 4, 8, 32, 0]


def test_unknown_labels_and_styles_follow_the_known_ones() -> None:
    source = OPEN.files["bandai_namco.npz"]
    originals = [Original(Path(), n, label, columns={"style": style}) for n, label, style in (("a", "walk", "weird"), ("b", "dance-long", "angry"))]
    clip = body("bandai_namco.npz", 1)
    corpus, names = make_corpus("x", source, [Recording(o, clip.replace(label=o.label), 0.1) for o in originals])
    assert corpus.label_names == (*source.labels, "dance-long") and names["style_names"] == (*source.styles, "weird")
    assert corpus.label.tolist() == [source.labels.index("walk"), len(source.labels)] and corpus.extra["style"].tolist() == [len(source.styles), 1]


@pytest.mark.parametrize("name", ["openskel", "openskel-free"])
def test_recipes_and_weights_are_those_of_the_corpus(name: str) -> None:
    corpus = find_corpus(name)
    recipes = [load_recipe(r) for r in shipped_recipes() if re.fullmatch(rf"[a-z]+-{name}(-2d)?", r)]
    assert corpus.rules in [r.name for r in recipes] and len(recipes) >= 2
    files = {r.name: tuple(r.data.files) for r in recipes}
    assert files == dict.fromkeys(files, tuple(corpus.files)), f"recipes METHOD-{name} train on the files of the corpus {name}; give others another name"
    for rules in (r.data.held_out for r in recipes):  # a recipe may hold out more than its corpus does
        assert all(rule.items() <= rules[file].items() for file, rule in load_recipe(corpus.rules).data.held_out.items())
    published = [manifest().find(m).weights for m in manifest().pretrained if re.fullmatch(rf"[a-z]+-{name}(-2d)?", m)]
    assert published and {(w.license, w.commercial_use) for w in published if w} == {(corpus.weights, corpus.commercial_use)}


def test_the_page_says_what_the_definitions_say() -> None:
    text = (DOCS / "corpora.md").read_text(encoding="utf-8")
    for file, source in OPEN.files.items():
        row = next(line for line in text.splitlines() if line.startswith(f"| `{file}` |"))
        assert f"| {source.size} |" in row and row.endswith(f"| {'yes' if source.commercial_use else 'no'} |")
    for name in ("openskel", "openskel-free"):
        corpus = find_corpus(name)
        assert re.search(rf"^\| `{name}` \| .* \| {corpus.weights}, {'any' if corpus.commercial_use else 'no commercial'} use \|$", text, re.M)
    rule = json.loads("{" + re.search(r'^"held_out": .*$', text, re.M)[0] + "}")["held_out"]
    assert all(load_recipe(OPEN.rules).data.held_out[file] == entry for file, entry in rule.items())
