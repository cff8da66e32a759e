"""Tables of joints: every way to name their columns gives the clip back, and what is wrong with one is said by line and column."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny import make_clip

import skelzoo
from skelzoo import Clip, get_layout, read
from skelzoo.errors import ReadError
from skelzoo.skeleton.io import find_files, passed_over

WIDE = ("{j}_{a}", "{j}.{A}", "{j}:{A}", "{j}{A}", "{j}_position_{a}", "{a}_{j}", "{j} {A} (mm)", "{j}Position{A}")


def write(path: Path, header: Sequence[Sequence[str]], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*header, *rows])
    return path


def wide(path: Path, clip: Clip, pattern: str = "{j}_{a}", extra: Callable[[int], dict[str, object]] = lambda t: {}, delimiter: str = ",") -> Path:
    names = [pattern.format(j=j, a=a, A=a.upper()) for j in clip.layout.joints for a in "xyz"[: clip.channels]]
    scored = [] if clip.scores is None else [f"{j}_score" for j in clip.layout.joints]
    rows = []
    for t in range(clip.frames):
        scores = [] if clip.scores is None else clip.scores[0, t].tolist()
        rows.append([*extra(t).values(), *clip.keypoints[0, t].ravel().tolist(), *scores])
    return write(path, [[*extra(0), *names, *scored]], rows, delimiter)


def long(path: Path, clip: Clip, scores: bool = False) -> Path:
    rows = [
        [t, f"p{m}", joint, *clip.keypoints[m, t, v].tolist(), *([float(clip.scores[m, t, v])] if scores and clip.scores is not None else [])]
        for t in range(clip.frames) for m in range(clip.persons) for v, joint in enumerate(clip.layout.joints) if clip.keypoints[m, t].any()
    ]  # fmt: skip
    return write(path, [["frame", "person", "joint", *"xyz"[: clip.channels], *(["score"] if scores else [])]], rows)


def same(found: Clip, clip: Clip) -> None:
    assert found.layout is clip.layout
    np.testing.assert_array_equal(found.keypoints, clip.keypoints)
    if clip.scores is not None:
        np.testing.assert_allclose(found.scores, clip.scores, atol=1e-6)


def filmed() -> Clip:
    rng = np.random.default_rng(0)
    return Clip(rng.uniform(1, 500, (1, 7, 17, 2)), "coco17", scores=rng.uniform(size=(1, 7, 17)))


@pytest.mark.parametrize("pattern", WIDE)
def test_wide_tables_give_the_clip_back_however_columns_are_named(tmp_path: Path, pattern: str) -> None:
    clip = make_clip()
    (found,) = read(wide(tmp_path / "walk.csv", clip, pattern))
    same(found, clip)
    assert found.name == "walk" and found.fps is None and found.scores is None


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.csv", ";"), ("a.csv.gz", ","), ("a.TSV.GZ", "\t")])
def test_tabs_semicolons_and_gzip(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name.replace("GZ", "gz")
    (found,) = read(wide(path, make_clip(), delimiter=delimiter))
    same(found, make_clip())
    assert found.name == "a" and find_files(tmp_path) == [path]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_excels_line_of_the_separator_is_no_row(tmp_path: Path, delimiter: str) -> None:
    path = wide(tmp_path / "a.csv", make_clip(), delimiter=delimiter)
    path.write_text(f"sep={delimiter}\n{path.read_text()}")
    assert find_files(tmp_path) == [path]
    same(read(path)[0], make_clip())
    with pytest.raises(ReadError, match=r"line 3, column 'HipCenter_x': '-?x"):
        read(changed(path, 3, "0.", "x"))


@pytest.mark.parametrize("rows", [wide, long])
def test_decimal_commas_go_with_semicolons_whatever_other_columns_hold(tmp_path: Path, rows: Callable[..., Path]) -> None:
    lines = rows(tmp_path / "a.csv", make_clip()).read_text().splitlines()
    turned = [line.replace(",", ";").replace(".", ",") + ";a.mp4;9:00" for line in lines[1:]]
    (tmp_path / "a.csv").write_text("\n".join([lines[0].replace(",", ";") + ";video;begun", *turned]))
    same(read(tmp_path / "a.csv")[0], make_clip())


@pytest.mark.parametrize(("form", "refused"), [
    (lambda x: f"{round(1000 * x):,}", True), (lambda x: f"{round(1000 * x):,}".replace(",", "."), True), (lambda x: f"{x:.3f}".replace(".", ","), False), (lambda x: f"{x + 5:.3f}".replace(".", ","), False),
    (lambda x: f"{x:.3f}".replace(".", ",").removesuffix("0"), False), (lambda x: f"{x + 9:.3f}".replace(".", ",").replace("9,0", "-9990"), False),
    (lambda x: "1" if x > 1 else f"{x:.3f}".replace(".", ","), False),
], ids=["thousands", "points", "decimals", "all above one", "excel", "mark", "zeros"])  # fmt: skip
@pytest.mark.parametrize("rows", [wide, long])
def test_decimals_that_may_be_thousands_are_refused(tmp_path: Path, rows: Callable[..., Path], form: Callable[[float], str], refused: bool) -> None:
    clip = make_clip()
    clip = clip.replace(keypoints=np.round(np.abs(clip.keypoints) % 2 + 0.01, 3))
    header, *lines = list(csv.reader(rows(tmp_path / "a.csv", clip).open()))
    given = header.index("joint") + 1 if "joint" in header else 0
    path = write(tmp_path / "a.csv", [header], [[*row[:given], *(form(float(cell)) for cell in row[given:])] for row in lines])
    if refused:
        with pytest.raises(ReadError, match=r"line \d+, column '\w+': '1[.,]\d{3}' may be 1\d{3} or 1\.\d{3}\. Export it without separators of thousands"):
            read(path)
    else:
        first = float(form(float(clip.keypoints[0, 0, 0, 0])).replace(",", "."))
        assert read(path)[0].keypoints[0, 0, 0, 0] == pytest.approx(first)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv.gz"])
def test_utf16_is_read_and_found_in_folders(tmp_path: Path, name: str, encoding: str) -> None:
    text = "\ufeff" * (encoding == "utf-16-be") + wide(tmp_path / "b", make_clip(), delimiter="\t").read_text()
    (tmp_path / name).write_bytes((gzip.compress if name.endswith("gz") else bytes)(text.encode(encoding)))
    assert find_files(tmp_path) == [tmp_path / name]
    same(read(tmp_path / name)[0], make_clip())


def test_a_name_that_ends_in_x_by_chance_is_no_joint(tmp_path: Path) -> None:
    same(read(wide(tmp_path / "a.csv", make_clip(), "{j}{A}", extra=lambda t: {"INDEX": t, "ENERGY": 0.5}))[0], make_clip())
    with pytest.raises(ReadError, match=r"no column is x of 'Head'"):
        read(changed(wide(tmp_path / "a.csv", make_clip(), "{j}{A}"), 1, "HeadX", "SkullX"))


def test_long_tables_have_persons_who_come_and_go(tmp_path: Path) -> None:
    clip = make_clip(persons=2)
    keypoints = clip.keypoints.copy()
    keypoints[1, :3] = 0
    clip = clip.replace(keypoints=keypoints)
    for word in ("person", "Actor", "player"):
        same(read(changed(long(tmp_path / "a.csv", clip), 1, "person", word))[0], clip)
    same(read(long(tmp_path / "b.csv", filmed(), scores=True))[0], filmed())


def test_subjects_before_the_same_joints_are_persons(tmp_path: Path) -> None:
    """Behind them they are refused, with the names that are read."""
    clip, columns = make_clip(persons=2), [(subject, joint, axis) for subject in "A1" for joint in get_layout("kinect20").joints for axis in "xyz"]
    before, behind = ([form.format(*column) for column in columns] for form in ("{0}:{1}_{2}", "{1}_{0}_{2}"))
    cells = clip.keypoints.transpose(1, 0, 2, 3).reshape(clip.frames, -1).tolist()
    same(read(write(tmp_path / "a.csv", [before], cells))[0], clip)
    with pytest.raises(ReadError, match=r"as A in HipCenter_A\. .*: A:HipCenter_x for HipCenter_A_x"):
        read(write(tmp_path / "a.csv", [behind], cells))


@pytest.mark.parametrize("people", [1, 2])
def test_deeplabcuts_rows_of_header(tmp_path: Path, people: int) -> None:
    clip = filmed()
    assert clip.scores is not None
    clip = clip.replace(keypoints=np.repeat(clip.keypoints, people, 0) + np.arange(people)[:, None, None, None], scores=np.repeat(clip.scores, people, 0))
    columns = [(f"mouse{m}", joint, what) for m in range(people) for joint in clip.layout.joints for what in ("x", "y", "likelihood")]
    rows = {"scorer": ["net"] * len(columns), "individuals": [c[0] for c in columns], "bodyparts": [c[1] for c in columns], "coords": [c[2] for c in columns]}
    if people == 1:
        del rows["individuals"]
    values = np.concatenate([clip.keypoints, np.asarray(clip.scores)[..., None]], -1).transpose(1, 0, 2, 3).reshape(clip.frames, -1)
    path = write(tmp_path / "a.csv", [[key, *row] for key, row in rows.items()], [[t, *row] for t, row in enumerate(values.tolist())])
    same(read(path)[0], clip)


@pytest.mark.parametrize(("column", "time", "fps"), [
    ("time", lambda t: t / 30, 30.0), ("Time (s)", lambda t: f"{t / 120:.4f}", 120.0), ("timestamp", lambda t: 1.7e12 + 40 * t, 25.0), ("time_ms", lambda t: round(t * 1e3 / 60), 59.94),
    ("timestamp", lambda t: 33366700 * t, 29.97), ("timestamp", lambda t: f"2024-05-01 12:00:{t:02d}", 1.0), ("frame", lambda t: t + 7, None),
], ids=["seconds", "unit", "milliseconds", "rounded", "nanoseconds", "dates", "frames"])  # fmt: skip
def test_fps_comes_of_the_times(tmp_path: Path, column: str, time: Callable[[int], object], fps: float | None) -> None:
    (found,) = read(wide(tmp_path / "a.csv", make_clip(), extra=lambda t: {column: time(t), "": t, "mood": "calm"}))
    assert found.fps == (None if fps is None else pytest.approx(fps, rel=1e-4))
    same(found, make_clip())


def test_rows_of_frames_in_disorder_and_joints_in_another_order_find_their_place(tmp_path: Path) -> None:
    clip = make_clip()
    path = wide(tmp_path / "a.csv", clip, extra=lambda t: {"frame": t})
    header, *rows = list(csv.reader(path.open()))
    turned = [[*row[:1], *row[:0:-1]] for row in (header, *rows[::-1])]
    same(read(write(path, turned[:1], turned[1:]))[0], clip)


BESIDE = {
    **{",".join(f"{{j}}{name}{axis}" for axis in "XYZ"): "" for name in ("_Q", "_Ori", "_Orientation", "Orientation", "_rot", "_Vel", "_q_")},
    **{",".join(f"{{j}}{name}{axis}" for axis in "xyz"): "" for name in ("_ori_", ".rotation.", "_quat_")},
    "{j}_ColorX,{j}_ColorY": "", "{j}_DepthSpaceX,{j}_DepthSpaceY": "",
    "CenterOfMass_x,CenterOfMass_y,CenterOfMass_z": "CenterOfMass", "Gaze_x,Gaze_y": "Gaze",
    ",".join(f"Prop{i}_{a}" for i in range(9) for a in "xyz"): ", ".join(f"Prop{i}" for i in range(8)) + " and 1 more",
}  # fmt: skip
"""Columns beside those of the joints, and what a note says of them."""


@pytest.mark.parametrize("pattern", ["{j}_{a}", "P07:{j}{A}"])
@pytest.mark.parametrize("beside", BESIDE)
def test_columns_beside_a_known_layout_change_none_of_its_joints(tmp_path: Path, beside: str, pattern: str) -> None:
    clip = make_clip(layout="ntu25")
    columns = ",".join(dict.fromkeys(beside.format(j=joint) for joint in clip.layout.joints)).split(",")
    (found,) = read(wide(tmp_path / "a.csv", clip, pattern, extra=lambda t: dict.fromkeys(columns, "" if t else 0.5)))
    same(found, clip)
    assert found.notes == ((f"left out beside the joints of ntu25: {BESIDE[beside]}",) if BESIDE[beside] else ())


def test_joints_beside_a_known_layout_are_left_out_of_long_tables(tmp_path: Path) -> None:
    clip = make_clip(layout="ntu25", persons=2)
    path = long(tmp_path / "a.csv", clip)
    with path.open("a") as file:
        file.writelines(f"{t},p0,CenterOfMass,1,lost,\n" for t in range(clip.frames))
    (found,) = read(path)
    same(found, clip)
    assert found.notes == ("left out beside the joints of ntu25: CenterOfMass",)


def test_joints_that_tell_more_of_the_body_than_a_known_layout_are_kept(tmp_path: Path) -> None:
    body = make_clip(layout="smpl22")
    joints = [*body.layout.joints, *(f"{side}_{finger}{n}" for side in ("left", "right") for finger in ("index", "middle", "thumb") for n in (1, 2, 3))]
    keypoints = np.concatenate([body.keypoints, body.keypoints[:, :, :18]], 2)
    (found,) = read(wide(tmp_path / "a.csv", Clip(keypoints, skelzoo.make_layout("smplh", joints, [None] * len(joints)))))
    assert found.layout.joints == tuple(joints) and skelzoo.coverage(found.layout, "kinect20").direct["LeftHand"] == "left_middle1" and not found.notes


@pytest.mark.parametrize("pattern", ["{v}_{a}", "landmark_{v}_{a}", "{a}{v}", "{A}{v}", "{a}_{v}", "joint", "joint_id"])
@pytest.mark.parametrize("first", [0, 1])
def test_numbered_joints_are_of_the_layout_that_is_given(tmp_path: Path, pattern: str, first: int) -> None:
    clip, path = filmed(), tmp_path / "a.csv"
    assert clip.scores is not None
    cells = np.concatenate([clip.keypoints[0], clip.scores[0, ..., None]], -1)
    if pattern.startswith("joint"):
        write(path, [["frame", pattern, "x", "y", "score"]], [[t, v + first, *cells[t, v].tolist()] for t in range(clip.frames) for v in range(17)][::-1])
    else:
        names = [pattern.format(v=v + first, a=a, A=a.upper()) for v in range(17) for a in "xyv"]
        write(path, [names[::-1]], [row[::-1] for row in cells.reshape(clip.frames, -1).tolist()])
    assert find_files(tmp_path) == [path]
    same(read(path, layout="coco17")[0], clip)
    for given, more in ((None, ""), ("ntu25", ", and layout 'ntu25' has 25")):
        with pytest.raises(ReadError, match=rf"its 17 joints have numbers for names, such as '\w+'{more}\. Say which .* coco17 or h36m17: --layout coco17 \("):
            read(path, layout=given)


def test_a_layout_that_is_given_leaves_names_alone_and_boxes_are_no_joints(tmp_path: Path) -> None:
    same(read(wide(tmp_path / "a.csv", make_clip()), layout="utdmhad20")[0], make_clip())
    joints = make_clip().layout.joints
    rows = [[t, v, joint, *make_clip().keypoints[0, t, v].tolist()] for t in range(20) for v, joint in enumerate(joints)]
    same(read(write(tmp_path / "a.csv", [["frame", "joint_id", "joint_name", *"xyz"]], rows))[0], make_clip())
    same(read(write(tmp_path / "a.csv", [["frame", "JointType", *"xyz"]], [[row[0], *row[2:]] for row in rows]))[0], make_clip())
    names = [f"{a}{v}" for v in range(19) for a in "xyz"]
    with pytest.raises(ReadError, match=r"its 19 joints have numbers for names, such as '0'\. No layout of skelzoo has as many; write their names instead"):
        read(write(tmp_path / "a.csv", [names], [[0.5] * len(names)] * 9))
    (tmp_path / "boxes.csv").write_text("frame,x1,y1,x2,y2\n1,2,3,4,5\n")
    assert passed_over([tmp_path]) == [tmp_path / "boxes.csv"]


def test_joints_of_no_layout_are_told_by_their_names(tmp_path: Path) -> None:
    clip = make_clip()
    names = [f"b_{j}" if j != "Head" else "b_Skull" for j in clip.layout.joints]
    own = Clip(clip.keypoints, skelzoo.make_layout("own", names, [None] * 20))
    (found,) = read(wide(tmp_path / "a.csv", own))
    assert found.layout.joints == tuple(names) and found.layout.point("left_elbow") == {names.index("b_LeftElbow"): 1.0}
    np.testing.assert_array_equal(found.keypoints, clip.keypoints)


def test_empty_cells_are_named_in_3d_and_not_found_in_2d(tmp_path: Path) -> None:
    clip = make_clip()
    keypoints = clip.keypoints.copy()
    path = wide(tmp_path / "a.csv", clip)
    header, *rows = list(csv.reader(path.open()))
    rows[2][header.index("Head_y")] = ""
    rows[5][header.index("Spine_x")] = "NaN"
    write(path, [header], rows)
    with pytest.raises(ReadError, match=r"line 4, column 'Head_y' is empty, as are 1 more joint positions\. .*--fill-missing"):
        read(path)
    (filled,) = read(path, fill_missing=True)
    keypoints[0, 2, 3] = (keypoints[0, 1, 3] + keypoints[0, 3, 3]) / 2
    np.testing.assert_allclose(filled.keypoints[0, 2, 3], keypoints[0, 2, 3], atol=1e-5)

    scored = filmed()
    path = wide(tmp_path / "b.csv", scored)
    header, *rows = list(csv.reader(path.open()))
    rows[2][header.index("nose_x")] = rows[2][header.index("nose_y")] = ""
    (found,) = read(write(path, [header], rows))
    assert found.scores is not None and not found.keypoints[0, 2, 0].any() and found.scores[0, 2, 0] == 0
    assert np.array_equal(found.keypoints[0, 3:], scored.keypoints[0, 3:])


def changed(path: Path, line: int, old: str, new: str) -> Path:
    lines = path.read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("\n".join(lines))
    return path


def test_a_second_x_and_y_of_each_joint_is_left_out_of_long_tables(tmp_path: Path) -> None:
    """MediaPipe's world landmarks beside those of the picture, as columns named twice of other tables too."""
    path = long(tmp_path / "a.csv", clip := filmed(), scores=True)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0] + ",world_x,world_y,world_z,box_x,box.x", *(line + ",0.1,0.2,,7,8" for line in lines[1:])]))
    (found,) = read(path)
    same(found, clip)
    assert found.notes == ("left out beside x and y of each joint: those of world, box",)


@pytest.mark.parametrize("numbers", [False, True])
def test_joints_that_are_there_twice_are_named_by_how_they_begin(tmp_path: Path, numbers: bool) -> None:
    joints = list(map(str, range(33))) if numbers else get_layout("mediapipe33").joints
    path = write(tmp_path / "a.csv", [[f"{kind}_{joint}_{axis}" for joint in joints for kind in ("norm", "world") for axis in "xyz"]], [[1.5] * 198] * 3)
    with pytest.raises(ReadError, match=r"has every joint 2 times, as norm_ and world_\. Keep the columns of one"):
        read(path)


@pytest.mark.parametrize(("line", "old", "new", "says"), [
    (1, "Spine_x", "Spine_y", r"two columns are y of Spine"),
    (1, "Spine_x", "Spain_x", r"no column is x of 'Spine', which has y, z\."),
    (1, "Head_x,Head_y,Head_z", "Tail_x,Tail_y,Tail_z", None),
    (1, "frame,", "Frame,", None),
    (4, "2,", "1,", r"lines 3 and 4 are both frame 1\. .*column person, of several videos a file each; .*wrote it twice, leave one row"),
    (4, "2,", "two,", r"line 4, column 'frame': 'two' is not a usable number"),
    (4, "2,", "2,abc", r"line 4, column 'HipCenter_x': 'abc.*' is not a usable number"),
    (4, "2,", "2,1e300,", r"line 4 has 62 cells, the header 61"),
], ids=["twice", "misspelt", "one unknown", "capitals", "frame twice", "no frame", "no number", "too long"])  # fmt: skip
def test_malformed_tables_are_refused_by_line_and_column(tmp_path: Path, line: int, old: str, new: str, says: str | None) -> None:
    path = changed(wide(tmp_path / "a.csv", make_clip(), extra=lambda t: {"frame": t}), line, old, new)
    if says is None:
        assert read(path)[0].frames == make_clip().frames
        return
    with pytest.raises(ReadError, match=says):
        read(path)


@pytest.mark.parametrize("key", ["frame", "time"])
@pytest.mark.parametrize("rows", ["wide", "long"])
def test_rows_that_a_recorder_wrote_twice_count_once(tmp_path: Path, rows: str, key: str) -> None:
    clip = make_clip()
    path = long(tmp_path / "a.csv", clip) if rows == "long" else wide(tmp_path / "a.csv", clip, extra=lambda t: {"frame": t})
    header, *lines = changed(path, 1, "frame", key).read_text().splitlines()
    path.write_text("\n".join(f"{line},{n}" for n, line in enumerate([header, *(line for line in lines for _ in range(2))])))
    (found,) = read(path)
    same(found, clip)
    assert found.notes == (f"left out rows that repeat the joints of another of their {key}: {len(lines)}",)
    with pytest.raises(ReadError, match=r"lines 2 and 3 are both"):
        read(changed(path, 3, ".", ".1"))


@pytest.mark.parametrize(("text", "says"), [
    ("a,b\n1,2\n", "is of no known format|columns a, b are no joints"),
    ("Head_x,Head_y\n", "holds no rows below its header"),
    ("tail_x,tail_y,withers_x,withers_y\n1,2,3,4\n", r"its joints are not understood.*none is understood as left_shoulder.*tail, withers"),
    ("joint,x,y\nhead,1,2\n", "no column frame or time"),
])  # fmt: skip
def test_tables_of_something_else_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ReadError, match=says):
        read(tmp_path / "a.csv")


VIDEO = {
    "Video": lambda t: f"v{t // 4}",
    "file name": lambda t: f"take{t // 4}.mp4",
    "trial_id": lambda t: t // 4,
    "session": lambda t: t // 4,
    "Take Name": lambda t: f"t{t // 4}",
    "clip": lambda t: "a",
    "file": lambda t: f"img_{t:05d}.png",
    "sequence": lambda t: t,
    "recording": lambda t: "" if t else "a",
}  # fmt: skip


@pytest.mark.parametrize("column", VIDEO)
@pytest.mark.parametrize("frame", [None, lambda t: t, lambda t: t % 4], ids=["no frame", "frame", "frame of each"])
def test_several_videos_are_no_clip(tmp_path: Path, column: str, frame: Callable[[int], int] | None) -> None:
    clip, several = make_clip(frames=8), column in ("Video", "file name", "trial_id", "session", "Take Name")
    extra = {} if frame is None else {"person_id" if several else "other": lambda t: f"p{t // 4}", "frame": frame if several else lambda t: t}
    path = wide(tmp_path / "a.csv", clip, extra=lambda t: {column: VIDEO[column](t), **{key: value(t) for key, value in extra.items()}})
    if not several:
        same(read(path)[0], clip)
        return
    with pytest.raises(ReadError, match=rf"its column '{column}' tells 2 recordings, such as '.*' and '.*'\. Save each of them to a file of its own"):
        read(path)


def test_tables_of_something_else_are_passed_over_in_folders(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\na.csv,walk\n")
    path = wide(tmp_path / "a.csv", make_clip())
    assert find_files(tmp_path) == [path] and passed_over([tmp_path]) == [tmp_path / "labels.csv"]
    path.rename(tmp_path / "a.json")
    with pytest.raises(ReadError, match=r"is named \.json, but its content looks like table of joints.*Rename it to \.csv"):
        read(tmp_path / "a.json")


@pytest.mark.needs_shared
@pytest.mark.parametrize(("corpus", "number"), [("nw_ucla", 3), ("utd_mhad", 5)])
def test_real_clips_come_back_with_their_classes(tmp_path: Path, shared: Path, corpus: str, number: int) -> None:
    clip = read(shared / f"data/{corpus}.npz")[number]
    assert clip.layout in (get_layout("kinect20"), get_layout("utdmhad20"))
    found = [read(write_one(tmp_path / f"{write_one.__name__}.csv", clip))[0] for write_one in (wide, long)]
    for one in found:
        kinect = clip if one.layout is clip.layout else skelzoo.remap(clip, one.layout)
        np.testing.assert_array_equal(one.keypoints, kinect.keypoints)
    encoder = skelzoo.load("skeattnclr-openskel", device="cpu")
    expected, *labels = encoder.classify([clip, *found]).labels[:, 0]
    assert labels == [expected] * 2
