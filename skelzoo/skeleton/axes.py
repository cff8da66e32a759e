"""Axes of arrays of clips: their names, which of them fit a layout, and arrays put in order by them; and axes of space, of which y is to point up."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import einops
import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import AxesError
from skelzoo.skeleton.layouts import Layout

AXES = "n c t v m"
"""Default axes of an array of clips: samples, coordinates, frames, joints, persons."""

CHANNELS = 2, 3
"""How many coordinates joints have."""

UPS = {
    "y": ((0, 1, 2), (1, 1, 1)), "z": ((0, 2, 1), (1, 1, -1)), "x": ((1, 0, 2), (-1, 1, 1)),
    "-y": ((0, 1, 2), (1, -1, -1)), "-z": ((0, 2, 1), (1, -1, 1)), "-x": ((1, 0, 2), (1, -1, 1)),
}  # fmt: skip
"""Axis of a file that points up -> its coordinates in their new order, and their signs: rotations, which keep left and right."""

TURNED = "turned from {} up"
"""What the notes of a clip that was turned so say."""


def axis_names(axes: str) -> list[str]:
    """The names of axes; see ``check_axes`` for what they may be. Raises AxesError."""
    names = axes.split() if isinstance(axes, str) else []
    if set(names) - set("nctvm") or len(set(names)) != len(names) or not set("ctv") <= set(names):
        raise AxesError(
            f"axes {axes!r} are not understood. Use each of c (coordinates), t (frames), v (joints) once and n (samples), m (persons) at most once, e.g. {AXES!r}."
        )
    return names


def check_axes(shape: tuple[int, ...], axes: str, layout: Layout, channels: Sequence[int] = CHANNELS) -> None:
    """Check that an array of that shape can have these axes.

    Args:
        shape: shape of the array.
        axes: axis names separated by blanks, out of n (samples), c (coordinates), t (frames), v (joints),
            m (persons); t, v and c are required.
        channels: sizes that c may have.

    Raises:
        AxesError: unknown or repeated names, wrong number of axes, or V or C sizes that do not fit; the
            message names the axes strings that would fit the shape.
    """
    names = axis_names(axes)
    if len(names) == len(shape):
        size = dict(zip(names, shape, strict=True))
        if size["v"] == len(layout) and size["c"] in channels:
            return
    fits, flat = fitting_axes(shape, layout, channels=channels), unflattened(shape, layout)
    hint = (
        f"For layout {layout.name!r} this shape would fit axes={' or axes='.join(repr(f) for f in fits)}."
        if fits
        else f"Its last axis holds all {len(layout)} joints of layout {layout.name!r}: give {flat}, whose last axes are v c."
        if flat
        else (f"No order of axes fits layout {layout.name!r}: one axis must be its {len(layout)} joints and one 2 or 3 coordinates.")
    )
    raise AxesError(f"an array of shape {tuple(shape)} cannot have axes {axes!r}. {hint}")


def rearranged(array: NDArray[Any], axes: str, layout: Layout, channels: Sequence[int] = CHANNELS) -> NDArray[Any]:
    """An array of these axes as (N, M, T, V, C), one clip or person where n or m is missing; arguments and errors as ``check_axes``."""
    check_axes(array.shape, axes, layout, channels)
    return einops.rearrange(array, f"{axes} -> {' '.join(a if a in axes.split() else '1' for a in 'nmtvc')}")


def fitting_axes(shape: tuple[int, ...], layout: Layout, limit: int = 3, channels: Sequence[int] = CHANNELS) -> list[str]:
    """Axes strings that fit, likely ones first: more frames than one, usual orders, few persons, more frames than persons."""
    usual = ["n c t v m", "n m t v c", "n t v c", "m t v c", "n c t v", "t v c", "c t v", "c t v m", "n t m v c"]
    rest = (" ".join(p) for k in (5, 4, 3) for p in itertools.permutations("mctvn", k) if set("ctv") <= set(p))
    fits: list[str] = []
    still: list[str] = []
    for axes in dict.fromkeys([*usual, *rest]):
        names = axes.split()
        if len(names) == len(shape):
            size = dict(zip(names, shape, strict=True))
            if size["v"] == len(layout) and size["c"] in channels and size.get("m", 1) <= min(10, max(size["t"], 2)):
                (fits if size["t"] > 1 else still).append(axes)
    return [*fits, *still][:limit]


def unflattened(shape: Sequence[int], layout: Layout, sizes: Sequence[int] = (3, 2)) -> str | None:
    """The call that parts the last axis into joints and coordinates, as many as one of ``sizes``, where it holds both: (T, 60) are 20 joints of 3; else None."""
    channels = [c for c in sizes if len(shape) >= 2 and shape[-1] == c * len(layout)]
    rows = "len(keypoints)" if len(shape) == 2 else "*keypoints.shape[:-1]"
    return f"keypoints.reshape({rows}, -1, {channels[0]})" if channels else None


def turned(places: NDArray[np.floating], up: str) -> NDArray[np.float64]:
    """Places (..., 3), rotated so that their axis ``up``, one of ``UPS``, becomes y."""
    order, signs = UPS[up]
    return np.asarray(places[..., order] * np.array(signs, np.float64) + 0.0)  # no zeros below zero
