"""Layout to layout by joint name, with a report of where every joint came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import CoverageError
from skelzoo.skeleton.clip import Clip, check_clip
from skelzoo.skeleton.layouts import Layout, get_layout
from skelzoo.skeleton.points import is_found

MIN_COVERAGE = 0.75
"""Share of target joints that must come from the source's own joints before a remap is accepted."""

STAND_INS: Mapping[str, tuple[str, ...]] = {"nose": ("head",), **{f"{side}_{part}": ("nose", "head") for part in ("eye", "ear") for side in ("left", "right")}}
"""Points of the face -> the points, the best first, where one stands that the source lacks. ``docs/cameras.md`` says what that costs."""


@dataclass(frozen=True)
class Coverage:
    """Where each target joint comes from.

    Attributes:
        source, target: layout names.
        direct: target joint -> source joint of the same body point.
        blended: target joint -> {source joint: weight}.
        estimated: target joint -> {target joint: weight}, an extrapolation within the target layout.
        nearby: target joint of the face -> {source joint: weight} of the nose or head, where it stands instead.
        missing: target joints that nothing stands for.
        points: missing target joint -> the body point that would stand for it, where one would.
    """

    source: str
    target: str
    direct: Mapping[str, str]
    blended: Mapping[str, Mapping[str, float]]
    estimated: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...]
    points: Mapping[str, str] = field(default_factory=dict)
    nearby: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Share of target joints, but for those ``nearby``, measured by the source (direct or blended), 0 to 1."""
        measured = len(self.direct) + len(self.blended)
        return measured / (measured + len(self.estimated) + len(self.missing))

    def __repr__(self) -> str:
        return f"Coverage({self.source} -> {self.target}: {self.share:.0%} of the joints measured, {len(self.missing)} missing)"

    def __str__(self) -> str:
        apart = f", but for {len(self.nearby)} of the face" if self.nearby else ""
        lines = [f"{self.source} -> {self.target}: {self.share:.0%} of the joints measured{apart}"]
        for what, joints in (("blended", self.blended), ("estimated", self.estimated), ("nearby", self.nearby)):
            lines += [f"  {what} {j}: " + " + ".join(f"{w:g} {s}" for s, w in mix.items()) for j, mix in joints.items()]
        lines += [f"  missing {j}" + (f", body point {self.points[j]}" if j in self.points else "") for j in self.missing]
        return "\n".join(lines)


def coverage(source: str | Layout, target: str | Layout) -> Coverage:
    """Report how the joints of ``target`` can be had from ``source``, without any data.

    Raises:
        LayoutError: an unknown name; near ones are listed.
    """
    return _plan(get_layout(source), get_layout(target))[0]


def remap(clip: Clip, target: str | Layout, min_coverage: float = MIN_COVERAGE) -> Clip:
    """The clip in another layout.

    Joints are matched by the body point they stand for (``Layout.own``), never by position. Joints the source
    cannot give are estimated by the target's own rule (a hand is the forearm extended), stand at the nose or head if they
    are of the face, or the remap refuses.

    Returns:
        Clip with the target's joints; scores are mixed with the same weights.

    Raises:
        ClipError: no clip.
        CoverageError: fewer than ``min_coverage`` of the joints are measured, or a joint has neither a source
            nor an estimate; the message is the coverage report.
        LayoutError: an unknown name; near ones are listed.
    """
    check_clip(clip)
    target = get_layout(target)
    if _same_joints(clip.layout, target):
        return clip
    report, matrix = _plan(clip.layout, target)
    if report.missing or report.share < min_coverage:
        failed = [f"{report.share:.0%} measured of the {min_coverage:.0%} needed"] if report.share < min_coverage else []
        failed += [f"{len(report.missing)} missing, which neither it nor an estimate gives"] if report.missing else []
        raise CoverageError(
            f"{clip.name}: layout {clip.layout.name!r} gives too few joints of {target.name!r}: {'; '.join(failed)}.\n{report}\n"
            "Use an encoder whose layout is nearer to yours, have your joint names matched by skelzoo.layout_from_names(names, parents), "
            "or describe the missing body points with skelzoo.make_layout(..., points=...)."
        )
    keypoints = np.einsum("wv,mtvc->mtwc", matrix, clip.keypoints)
    if clip.channels == 2:
        # (0, 0) is a joint that was not found, and so is what is mixed from it.
        lost = np.einsum("wv,mtv->mtw", matrix != 0, ~is_found(clip.keypoints))
        keypoints[lost] = 0
    scores = None if clip.scores is None else np.einsum("wv,mtv->mtw", np.abs(matrix) / np.abs(matrix).sum(1, keepdims=True), clip.scores)
    if scores is not None and clip.channels == 2:
        scores[lost] = 0
    return clip.replace(keypoints=keypoints, layout=target, scores=scores)


def _same_joints(source: Layout, target: Layout) -> bool:
    """Whether names and order are the same, and none of these joints is said to be another point of the body."""
    return source.joints == target.joints and all(source.own.get(joint, point) == point for joint, point in target.own.items())


@lru_cache(maxsize=64)
def _plan(source: Layout, target: Layout) -> tuple[Coverage, NDArray[np.float32]]:
    """Coverage report and the (target joints, source joints) mixing matrix."""
    if _same_joints(source, target):
        return Coverage(source.name, target.name, {j: j for j in target.joints}, {}, {}, ()), np.eye(len(target), dtype=np.float32)
    matrix = np.zeros((len(target), len(source)), np.float32)
    direct: dict[str, str] = {}
    blended: dict[str, Mapping[str, float]] = {}
    unmatched = []
    for i, joint in enumerate(target.joints):
        point = target.own.get(joint)
        mix = source.point(point) if point else None
        if mix is None:
            unmatched.append(joint)
            continue
        for j, weight in mix.items():
            matrix[i, j] = weight
        if len(mix) == 1:
            direct[joint] = source.joints[next(iter(mix))]
        else:
            blended[joint] = {source.joints[j]: w for j, w in mix.items()}
    estimated, nearby = {}, {}
    for joint in unmatched:
        rule = target.estimates.get(joint, {})
        if rule and all(j in direct or j in blended for j in rule):
            estimated[joint] = rule
            matrix[target.index(joint)] = sum(w * matrix[target.index(j)] for j, w in rule.items())
        elif mix := next(filter(None, map(source.point, STAND_INS.get(target.own.get(joint, ""), ()))), None):
            nearby[joint] = {source.joints[j]: w for j, w in mix.items()}
            for j, weight in mix.items():
                matrix[target.index(joint), j] = weight
    missing = tuple(j for j in unmatched if j not in estimated and j not in nearby)
    points = {j: target.own[j] for j in missing if j in target.own}
    return Coverage(source.name, target.name, direct, blended, estimated, missing, points, nearby), matrix
