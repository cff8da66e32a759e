"""Where the frames of a table of joints stand by their numbers or times, and the frame rate that the times tell."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelzoo.skeleton.io.files import Floats, check_video
from skelzoo.skeleton.io.table_columns import TIME_UNITS

RATES = (5.0, 500.0)
"""Frames per second of recordings; where the header does not name the unit of time, it is told by them."""

COMMON = (10.0, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0, 90.0, 100.0, 120.0)
"""Frames per second that cameras have."""

SURE = 1.01
"""How many times as far from a common rate as the nearest unit the next one must be, as a ratio of rates."""

DAY = 86400

_CLOCK = re.compile(r"(\d{1,2}):(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")


def clock(text: str) -> float:
    """A time of day such as 9:59:59.500 in seconds; NaN for other text."""
    match = _CLOCK.fullmatch(text)
    return math.nan if match is None else 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3].replace(",", "."))


def past_midnight(seconds: Floats) -> Floats:
    """Times of day in the order of their rows, those after midnight a day later."""
    steps = np.diff(seconds)
    days = np.cumsum(np.where(steps < -DAY / 2, 1, np.where(steps > DAY / 2, -1, 0)))
    return np.asarray(seconds + DAY * np.concatenate([[0], days]), np.float64)


def by_coming(texts: Sequence[str]) -> Floats:
    """Texts numbered as they first appear."""
    number = {text: float(i) for i, text in enumerate(dict.fromkeys(texts))}
    return np.array([number[text] for text in texts])


def by_number(keys: Floats, path: Path) -> NDArray[np.intp]:
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


def by_time(keys: Floats, what: str, path: Path) -> NDArray[np.intp]:
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
    places = np.concatenate([[0.0], np.cumsum(np.maximum(1, np.rint(steps / _step(steps))))])
    check_video(path, len(times), places[-1] + 1, f"frames have {what} from {times[0]:g} to {times[-1]:g}")
    return np.asarray(places, np.intp)[row]


def _step(steps: Floats) -> float:
    """The time from a frame to the next, by the steps that are no gaps."""
    return float(steps[steps < 1.5 * np.median(steps)].mean())


def rate(times: Floats, places: NDArray[np.intp], unit: float) -> float | None:
    """Frames per second by the times of frames at these places.

    Args:
        unit: seconds per unit of the times; 0 where it is not known.

    Returns:
        None where there are no times, where they are in no unit that people film in, or where two units give a common rate.
    """
    if len(times) < 2 or not (np.diff(times) > 0).all():
        return None
    step = _step(np.diff(times) / np.diff(places))
    fps = 1 / (step * unit) if unit else _likeliest([1 / (step * unit) for unit in TIME_UNITS])
    return float(round(fps)) if fps and abs(fps - round(fps)) < 5e-4 * fps else fps


def _likeliest(rates: Sequence[float]) -> float | None:
    """The rate that is nearest to a common one; None where two are as near, or none is a rate of recordings."""
    ranked = sorted((min(max(fps / one, one / fps) for one in COMMON), fps) for fps in rates if RATES[0] <= round(fps, 6) <= RATES[1])
    unsure = not ranked or (len(ranked) > 1 and ranked[1][0] < SURE * ranked[0][0])
    return None if unsure else ranked[0][1]
