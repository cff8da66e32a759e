"""Where the frames of a table of joints stand by their numbers or times, and the frame rate that the times tell."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import DoubtWarning, warn
from skelzoo.skeleton.arrays import Float64s, Int64s
from skelzoo.skeleton.clip import is_rate
from skelzoo.skeleton.io.files import check_video
from skelzoo.skeleton.io.table_columns import TIME_UNITS

RATES = (5.0, 500.0)
"""Frames per second of recordings; where the header does not name the unit of time, it is told by them."""

COMMON = (10.0, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0, 90.0, 100.0, 120.0)
"""Frames per second that cameras have."""

SURE = 1.01
"""How many times as far from a common rate as the nearest unit the next one must be, as a ratio of rates."""

ROUNDED = range(67, 96)
"""Frames per hundred units of the last digit of rounded times, at which frames are one unit or two apart. Up to 66 the distances are told from gaps without it;
from 96 on the frames that are two apart are so few that they are taken for gaps."""

RHYTHM = 3
"""How many frames two units apart tell that times are rounded, and how many of them there must be for each lost frame."""

DAY = 86400
EPOCH = dt.date(1970, 1, 1).toordinal()

_CLOCK = re.compile(
    r"(?:(?P<date>\d{4}[-/]\d{1,2}[-/]\d{1,2})[T ]+|(?P<days>[-+]?\d+) days?,? [+]?)?(?:(?P<hour>\d{1,2}):)?(?P<minute>\d{1,2}):(?P<second>\d{1,2}(?:[.,]\d+)?)"
    r" ?(?P<zone>Z|[-+]\d\d:?\d\d)?",
    re.IGNORECASE,
)


def clocks(texts: Sequence[str]) -> Float64s:
    """Texts such as 9:59:59.500, 2024-03-02T09:59:59.5+01:00, 0 days 00:00:00.033 and 1:02.5 (minutes, seconds) in seconds, NaN for others.

    Times of day without a date are in the order of the texts: those after midnight are a day later.
    """
    found = [_CLOCK.fullmatch(text) for text in texts]
    seconds = np.array([math.nan if match is None else _seconds(match) for match in found])
    if not any(match["date"] or match["days"] for match in found if match):
        known = np.isfinite(seconds)
        seconds[known] = _past_midnight(seconds[known])
    return seconds


def _seconds(match: re.Match[str]) -> float:
    """Seconds since 1970 where there is a date, NaN where that is none."""
    days, zone = int(match["days"] or 0), re.sub(r"[zZ:]", "", match["zone"] or "")
    if match["date"]:
        try:
            days = dt.date(*map(int, re.split("[-/]", match["date"]))).toordinal() - EPOCH
        except ValueError:
            return math.nan
    minutes = 60 * int(match["hour"] or 0) + int(match["minute"]) - (int(f"{zone[0]}1") * (60 * int(zone[1:3]) + int(zone[3:])) if zone else 0)
    return DAY * days + 60 * minutes + float(match["second"].replace(",", "."))


def _past_midnight(seconds: Float64s) -> Float64s:
    """Times of day in the order of their rows, those after midnight a day later."""
    steps = np.diff(seconds, prepend=seconds[:1])
    return np.asarray(seconds + DAY * np.cumsum(np.where(steps < -DAY / 2, 1, np.where(steps > DAY / 2, -1, 0))), np.float64)


def by_coming(texts: Sequence[str]) -> Float64s:
    """Texts numbered as they first appear."""
    number = {text: float(i) for i, text in enumerate(dict.fromkeys(texts))}
    return np.array([number[text] for text in texts])


def by_number(keys: Float64s, path: Path) -> NDArray[np.intp]:
    """The place of every row by the number of its frame, the first at 0; every fifth frame of a video is a video of its own.

    Raises:
        ReadError: gaps too large for a video.
    """
    if (keys != np.rint(keys)).any():
        return by_time(keys, "numbers", path)
    first = int(keys.min())
    offsets = [int(key) - first for key in keys]
    step = math.gcd(*offsets) or 1
    check_video(path, len(set(offsets)), max(offsets) // step + 1, f"frames have numbers from {first} to {keys.max():.0f}")
    return np.array([offset // step for offset in offsets], np.intp)


def by_time(keys: Float64s, what: str, path: Path) -> NDArray[np.intp]:
    """The place of every row by its time, in steps of the recording. From one frame to the next, so that a rate that is not quite even moves none.

    Args:
        what: what the keys are, for the message.

    Raises:
        ReadError: gaps too large for a video.
    """
    times, row = np.unique(keys, return_inverse=True)
    if len(times) < 2:
        return np.zeros(len(keys), np.intp)
    steps = np.diff(times)
    frames = _rounded_frames(steps)
    places = np.concatenate([[0.0], np.cumsum(np.maximum(1, np.rint(steps / _step(steps))) if frames is None else frames)])
    check_video(path, len(times), places[-1] + 1, f"frames have {what} from {times[0]:g} to {times[-1]:g}")
    return np.asarray(places, np.intp)[row]


def _units(steps: Float64s) -> Int64s | None:
    """Steps in the smallest of them, where that is also the usual one and all are whole multiples, as where times are rounded to it."""
    units = steps / steps.min()
    whole = np.rint(units)
    return whole.astype(np.int64) if np.median(whole) == 1 and np.abs(units - whole).max() < 0.01 and whole.max() < 1e9 else None


def _rounded_frames(steps: Float64s) -> Int64s | None:
    """The frames that each step takes where the times of an even rate are rounded to nearly its step; None where they are not.

    At 90 fps, times in hundredths of a second are one unit apart, and every ninth two, in a rhythm that frames lost by chance have not.
    """
    units = _units(steps)
    if units is None or units.max() == 1:
        return None
    for rate in ROUNDED:
        frames = _on_grid(units, rate)
        if frames is not None:
            explained, lost = int((units > frames).sum()), int((frames > 1).sum())
            if explained >= RHYTHM * max(1, lost):
                return frames
    return None


def _on_grid(units: Int64s, rate: int) -> Int64s | None:
    """The frames that each step takes if there are ``rate`` in 100 units and the times are rounded to units; None where they do not fit."""
    phases = np.concatenate([[0], np.cumsum(units)]) * rate
    # Whole periods of the rhythm, and not so many that a clock that is a little fast or slow leaves it.
    length = min(max(64, 800 // (100 - rate)), len(units))
    frames = np.zeros(len(units), np.int64)
    for start in range(0, len(units), length):
        first = min(start, len(units) - length)
        block = phases[first : first + length + 1]
        at = np.unique(block % 100)
        free = np.diff(at, append=at[0] + 100)
        # Rounding moves a time by half a unit at most, and a unit is ``rate`` hundredths of a frame; times halfway may go either way.
        fits = [np.diff((block - after) // 100) for after in np.roll(at, -1)[free >= 100 - rate]]
        fits = [fit for fit in fits if fit.min() >= 1]
        if not fits:
            return None
        frames[first : first + length] = min(fits, key=lambda fit: int(fit.sum()))
    return frames


def _step(steps: Float64s) -> float:
    """The time from a frame to the next, by the steps that are no gaps."""
    return float(steps[steps < 1.5 * np.median(steps)].mean())


def rate(times: Float64s, places: NDArray[np.intp], unit: float) -> float | None:
    """Frames per second by the times of frames at these places.

    Args:
        unit: seconds per unit of the times; 0 where it is not known.

    Returns:
        None where there are no times, where they are in no unit that people film in, or where two units give a common rate.
    """
    if len(times) < 2 or not (np.diff(times) > 0).all():
        return None
    frames, units = np.diff(places), _units(np.diff(times))
    rounded = units is not None and int(((frames == 1) & (units == 2)).sum()) >= RHYTHM
    step = float(np.polyfit(places, times - times[0], 1)[0]) if rounded else _step(np.diff(times) / frames)
    fps = 1 / (step * unit) if unit else _likeliest([1 / (step * unit) for unit in TIME_UNITS])
    if fps is None or not is_rate(fps):
        return None
    return float(round(fps)) if abs(fps - round(fps)) < 5e-4 * fps else fps


def _likeliest(rates: Sequence[float]) -> float | None:
    """The rate that is nearest to a common one; None where two are as near, or none is a rate of recordings."""
    ranked = sorted((min(max(fps / one, one / fps) for one in COMMON), fps) for fps in rates if RATES[0] <= round(fps, 6) <= RATES[1])
    unsure = not ranked or (len(ranked) > 1 and ranked[1][0] < SURE * ranked[0][0])
    return None if unsure else ranked[0][1]


def warn_of_order(column: str, text: str, path: Path) -> None:
    """Say that a column of times is not understood, by the first of them."""
    warn(
        f"{path.name}: the column {column!r} holds no times that are understood, such as {text[:40]!r}, so that frames are counted as they "
        "come, and gaps are closed. Give seconds, 9:59:59.5, 2024-03-02 09:59:59.5, or a column frame.",
        DoubtWarning,
    )
