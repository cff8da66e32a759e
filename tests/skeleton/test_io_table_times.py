"""Tables of joints over time: every frame stands where its number or time puts it, and the rate is that of the recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_io_table import changed, filmed, long, same, wide, write
from tiny import make_clip

from skelzoo import Clip, read
from skelzoo.errors import DoubtWarning, ReadError

CLIP = make_clip()
GAP = CLIP.frames // 2
"""Frame before which somebody was away."""


def away(frames: int) -> Clip:
    """The clip with nobody in it for a while."""
    nobody = np.zeros((1, frames, *CLIP.keypoints.shape[2:]), np.float32)
    return Clip(np.concatenate([CLIP.keypoints[:, :GAP], nobody, CLIP.keypoints[:, GAP:]], 1), CLIP.layout)


def day(t: int) -> str:
    """The time of day at frame t of a recording at 10 fps that begins half a second before ten."""
    return f"9:59:{59.5 + t / 10:06.3f}" if t < 5 else f"10:00:{t / 10 - 0.5:06.3f}"


@pytest.mark.parametrize("time", [day, lambda t: day(t).replace("9:59", "23:59").replace("10:00", "00:00")], ids=["ten o'clock", "midnight"])
def test_times_of_day_are_in_order(tmp_path: Path, time: Callable[[int], str]) -> None:
    (found,) = read(wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"time": time(t)}))
    same(found, CLIP)
    assert found.fps == 10


def date(t: int, sep: str = " ") -> str:
    """The date and time at frame t of a recording at 30 fps that begins a fifth of a second before a leap day."""
    return f"{np.datetime64('2024-02-28T23:59:59.800000') + np.timedelta64(round(t * 1e6 / 30), 'us')}".replace("T", sep)


@pytest.mark.parametrize("time", [
    date, lambda t: date(t, "T"), lambda t: date(t, "T") + "Z", lambda t: date(t) + "+01:00", lambda t: date(t).replace(".", ","), lambda t: date(t).replace("-", "/"),
    lambda t: f"0 days 00:00:{t / 30:09.6f}", lambda t: f"1:{t / 30:06.3f}", lambda t: date(t) + "+0100" if t < 9 else f"{np.datetime64(date(t)) - np.timedelta64(1, 'h')} Z",
], ids=["pandas", "T", "Z", "zone", "comma", "slashes", "timedelta", "minutes", "zones"])  # fmt: skip
def test_dates_and_durations_are_times(tmp_path: Path, time: Callable[[int], str]) -> None:
    header, *rows = wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"timestamp": time(t if t < GAP else t + 11)}, delimiter=";").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, *rows[::-1]]))  # newest first
    (found,) = read(tmp_path / "a.csv")
    same(found, away(11))
    assert found.fps == pytest.approx(30, rel=1e-3)


def test_recordings_of_two_days_are_no_video(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"its 20 frames have times from .*, and are no video"):
        read(wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"time": f"2024-03-{2 + (t >= GAP):02d} 10:00:{t:02d}"}))


@pytest.mark.parametrize("time", [lambda t: f"Sunday, {20 - t}", lambda t: f"2024-13-01 10:00:{t:02d}"], ids=["text", "no date"])
def test_other_texts_are_counted_as_they_come_with_a_warning(tmp_path: Path, time: Callable[[int], str]) -> None:
    with pytest.warns(DoubtWarning, match=rf"a\.csv: the column 'time' holds no times that are understood, such as '{time(0)}', .*column frame"):
        (found,) = read(wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"time": time(t)}))
    same(found, CLIP)
    assert found.fps is None


@pytest.mark.parametrize("bad", ["", "nan", "soon"])
@pytest.mark.parametrize("time", [lambda t: f"{8 + t / 10:g}", day], ids=["seconds", "of day"])
@pytest.mark.parametrize("line", [2, 5])
def test_a_time_that_is_none_is_refused_by_line(tmp_path: Path, line: int, time: Callable[[int], str], bad: str) -> None:
    path = wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"time": bad if t == line - 2 else time(t)})
    with pytest.raises(ReadError, match=rf"line {line}, column 'time': '{bad}' is not a usable (number|time of day)"):
        read(path)


@pytest.mark.parametrize(("column", "key"), [
    ("frame", lambda t: 7 + t), ("frame", lambda t: 5 * t), ("frame", lambda t: t / 2), ("time", lambda t: f"{t / 30:.3f}"), ("time", lambda t: f"9:00:{t / 30:06.3f}"),
], ids=["frames", "every fifth frame", "half frames", "seconds", "times of day"])  # fmt: skip
@pytest.mark.parametrize("rows", ["wide", "long"])
def test_gaps_stay(tmp_path: Path, rows: str, column: str, key: Callable[[int], object]) -> None:
    def at(t: int) -> object:
        return key(t if t < GAP else t + 11)

    if rows == "wide":
        path = wide(tmp_path / "a.csv", CLIP, extra=lambda t: {column: at(t)})
    else:
        header, *cells = [line.split(",") for line in long(tmp_path / "b.csv", CLIP).read_text().splitlines()]
        path = write(tmp_path / "a.csv", [[column, *header[1:]]], [[at(int(row[0])), *row[1:]] for row in cells])
    (found,) = read(path)
    same(found, away(11))
    assert found.fps == (30 if column == "time" else None)


@pytest.mark.parametrize("kept", [[t for t in range(20) if t != 9], [0, 2, 4, 6, 7, 9, 11, 13, 15, 17, 19]], ids=["one is lost", "most are"])
def test_lost_frames_do_not_bend_the_rate(tmp_path: Path, kept: list[int]) -> None:
    header, *rows = wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"frame": t, "time": t / 25}).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, *(rows[t] for t in kept)]))
    (found,) = read(tmp_path / "a.csv")
    assert found.fps == 25 and found.frames == CLIP.frames


def test_uneven_times_leave_no_gaps(tmp_path: Path) -> None:
    late = np.random.default_rng(0).uniform(0, 0.01, CLIP.frames)
    same(read(wide(tmp_path / "a.csv", CLIP, extra=lambda t: {"time": t / 30 + late[t]}))[0], CLIP)


@pytest.mark.parametrize("column", ["time", "frame and time"])
@pytest.mark.parametrize("lost", [(), (50,), (30, 31)], ids=["none lost", "one lost", "two lost"])
@pytest.mark.parametrize("fps", [60, 70, 75, 80, 90, 100])
def test_rounded_times_leave_no_gaps_and_lost_frames_do(tmp_path: Path, fps: int, lost: tuple[int, ...], column: str) -> None:
    whole = make_clip(frames=90)
    extra = {"time": lambda t: {"time": f"{t / fps:.2f}"}, "frame and time": lambda t: {"frame": t, "time": f"{t / fps:.2f}"}}[column]
    header, *rows = wide(tmp_path / "a.csv", whole, extra=extra).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, *(row for t, row in enumerate(rows) if t not in lost)]))
    keypoints = whole.keypoints.copy()
    keypoints[:, lost] = 0
    (found,) = read(tmp_path / "a.csv")
    same(found, whole.replace(keypoints=keypoints))
    assert found.fps == pytest.approx(fps, rel=5e-3)


@pytest.mark.parametrize("lost", [(9,), (9, 19), (5, 13, 14, 40, 71)], ids=str)
def test_frames_lost_out_of_rhythm_are_gaps(tmp_path: Path, lost: tuple[int, ...]) -> None:
    header, *rows = wide(tmp_path / "a.csv", make_clip(frames=80), extra=lambda t: {"time": t / 100}).read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([header, *(row for t, row in enumerate(rows) if t not in lost)]))
    (found,) = read(tmp_path / "a.csv")
    assert found.fps == 100 and tuple(np.flatnonzero(~found.keypoints.any((0, 2, 3)))) == lost


def test_empty_rows_are_frames_and_empty_lines_are_not(tmp_path: Path) -> None:
    path = wide(tmp_path / "a.csv", CLIP)
    header, *rows = path.read_text().splitlines()
    empty = "," * header.count(",")
    path.write_text("\n\n".join([header, empty, *rows[:GAP], *[empty] * 3, *rows[GAP:], empty]))
    same(read(path)[0], away(3))


@pytest.mark.parametrize("column", ["frame", "time"])
def test_frames_too_far_apart_are_no_video(tmp_path: Path, column: str) -> None:
    path = wide(tmp_path / "a.csv", CLIP, extra=lambda t: {column: t})
    changed(path, CLIP.frames + 1, f"{CLIP.frames - 1},", f"{10**15},")
    with pytest.raises(ReadError, match=rf"its {CLIP.frames} frames have \w+ from 0 to 1.*, and are no video"):
        read(path)


@pytest.mark.parametrize("clip", [CLIP, filmed()], ids=["3-D", "2-D"])
def test_filled_tables_have_the_joints_of_filled_arrays(tmp_path: Path, clip: Clip) -> None:
    keypoints = np.concatenate([clip.keypoints] * 2, 1)
    keypoints[0, 2, 3] = keypoints[0, 4:6] = keypoints[0, -1] = np.nan
    np.savez(tmp_path / "a.npz", keypoints=keypoints, layout=clip.layout.name)
    (expected,) = read(tmp_path / "a.npz", fill_missing=True)
    header = ["frame", *(f"{j}_{a}" for j in clip.layout.joints for a in "xyz"[: clip.channels])]
    rows = [[t, *("" if np.isnan(x) else float(x) for x in row.ravel())] for t, row in enumerate(keypoints[0])]
    for name, kept in (("empty", rows), ("gap", [row for row in rows if row[0] != 4])):
        (found,) = read(write(tmp_path / f"{name}.csv", [header], kept), fill_missing=True)
        np.testing.assert_allclose(found.keypoints, expected.keypoints, rtol=1e-5)


def test_what_is_never_known_in_2d_stays_so_when_tables_are_filled(tmp_path: Path) -> None:
    clip = filmed()
    rows = [[t, "p", j, *("" if j == "nose" else float(x) for x in clip.keypoints[0, t, v])] for t in (0, 1, 3) for v, j in enumerate(clip.layout.joints)]
    (found,) = read(write(tmp_path / "a.csv", [["frame", "person", "joint", "x", "y"]], rows), fill_missing=True)
    assert found.frames == 4 and not found.keypoints[0, :, 0].any() and found.keypoints[0, :, 1:].all()


@pytest.mark.parametrize(("column", "step", "fps"), [
    ("timestamp", 166667, 60), ("timestamp", 333333, 30), ("timestamp", 16667, 60), ("timestamp", 33333333, 30), ("time", 0.2, 5), ("timestamp", 100000, None),
    ("timestamp_us", 100000, 10), ("Timestamp (us)", 166667, 6), ("time [\u00b5s]", 40000, 25), ("time_ticks", 100000, 100), ("timestamp_ns", 33333333, 30), ("time (ms)", 500, 2),
    ("ticks", 1, None),
], ids=str)  # fmt: skip
def test_the_unit_of_time_is_that_of_the_name_or_of_a_common_rate(tmp_path: Path, column: str, step: float, fps: float | None) -> None:
    (found,) = read(wide(tmp_path / "a.csv", CLIP, extra=lambda t: {column: step * t}))
    same(found, CLIP)
    assert found.fps == fps
