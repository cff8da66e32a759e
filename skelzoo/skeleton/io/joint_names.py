"""Layouts from joint names alone: those of skelzoo by their joints, others by what the names say."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Sequence

from skelzoo.errors import LayoutError
from skelzoo.skeleton.io.rig_names import are_bones, body_points, guess_layout, parents_of_bones
from skelzoo.skeleton.layouts import Layout, get_layout, list_layouts, make_layout

ESSENTIAL = tuple(f"{side}_{point}" for side in ("left", "right") for point in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
"""Body points without which names are no person's; no layout estimates them."""

# Body point without its side -> the one it hangs from, or from that one's where that one is not there.
_UP = {
    "spine_low": "hip_center", "spine_mid": "spine_low", "neck_base": "spine_mid", "neck": "neck_base", "head": "neck", "head_top": "head", "nose": "head",
    "eye": "nose", "ear": "eye", "shoulder": "neck_base", "elbow": "shoulder", "wrist": "elbow", "hand": "wrist", "hand_tip": "hand", "thumb": "wrist",
    "hip": "hip_center", "knee": "hip", "ankle": "knee", "foot": "ankle",
}  # fmt: skip


def layout_from_names(names: Sequence[str], parents: Sequence[str | int | None] | None = None, *, name: str | None = None) -> Layout:
    """A layout for joints whose names are in common use: ``LeftUpLeg``, ``SHOULDER_LEFT``, ``l_knee``, ``mixamorig:Hips``.

    Names that are those of a layout of skelzoo, in whatever order and spelling of ``_`` and capitals, mean what they mean there. Those of ASF bones
    (``lhipjoint``, ``lfemur``, ``lhumerus``) are taken for the ends of these bones, as HDM05 and CMU have them, whatever else is there. ``print(layout.report())`` tells
    what each joint was taken for, ``skelzoo.coverage(layout, "kinect20")`` what becomes of it. Joints whose names are not understood stand for nothing.

    Args:
        names: joint names in the order of the V axis.
        parents: per joint its parent's name or index, None or -1 for the root; by default told from the names, where joints that are not
            understood hang from the root. They decide what ``bone`` streams and body parts are, and where points along the spine lie.
        name: short name of the layout; by default one made of the number of joints and a hash of their names.

    Returns:
        Layout; skelzoo's own one where names and order are its, and neither parents nor a name are given.

    Raises:
        LayoutError: no joints, repeated names, parents that do not fit, or no joint for a shoulder, elbow, wrist, hip, knee or ankle.
    """
    names = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else (names,)
    if not all(isinstance(joint, str) for joint in names):
        raise LayoutError(f"names are {str(names)[:80]}. Give a list of texts, one per joint.")
    known = known_layout(names)
    if known is not None and known[0].joints == names and parents is None and name is None:
        return known[0]
    given = make_layout(name or "of these names", names, [None] * len(names) if parents is None else parents, strict=False).parents
    if known is not None:
        layout = _respelt(*known, names, None if parents is None else given)
    else:
        bones = are_bones(names)
        told = given if parents is not None else parents_of_bones(names) if bones else _parents(names)
        layout = guess_layout(names, told, (0.1,) * len(names), bones)
    layout = dataclasses.replace(layout, name=name or layout.name, title=name or f"{len(names)} joints, body points told from their names")
    missing = [point for point in ESSENTIAL if layout.point(point) is None]
    if missing:
        used = {joint for mix in layout.points.values() for joint in mix}
        rest = [joint for joint in names if joint not in used]
        raise LayoutError(
            f"of {len(names)} joint names none is understood as {', '.join(missing)}; not understood are {', '.join(rest) or 'none'}. "
            f"Name them like {missing[0]}, or say which joint is which: skelzoo.make_layout(name, {{joint: body point}}, parents)."
        )
    return layout


def known_layout(names: Sequence[str]) -> tuple[Layout, tuple[str, ...]] | None:
    """The layout of skelzoo that has these joints, and the joint that each name is; in the order given rather than in another, None where there is none."""
    bare = _bare(names)
    same = [layout for layout in map(get_layout, list_layouts()) if len(layout) == len(bare) and set(_bare(layout.joints)) == set(bare)]
    if not same:
        return None
    layout = min(same, key=lambda layout: _bare(layout.joints) != bare)
    joint_of = dict(zip(_bare(layout.joints), layout.joints, strict=True))
    return layout, tuple(joint_of[name] for name in bare)


def known_part(names: Sequence[str]) -> list[str]:
    """The names that are the joints of the largest layout of skelzoo whose joints are all there, in their order; none where others stand for points of the body that it lacks."""
    bare = dict(zip(_bare(names), names, strict=True))
    layout = max((layout for layout in map(get_layout, list_layouts()) if bare.keys() >= set(_bare(layout.joints))), key=len, default=None)
    if layout is None or len(bare) < len(names) or are_bones(names):  # what the ends of bones are is told with any other joints there
        return []
    part = {bare[joint] for joint in _bare(layout.joints)}
    if any(joint not in part and layout.point(point) is None for point, joint in body_points(names).items()):
        return []
    return [name for name in names if name in part]


def numbered(names: Sequence[str]) -> list[int] | None:
    """The places of joints that have numbers from 0 or 1 on for names, ``11`` or ``landmark_11``; None of others."""
    found = [match for match in (re.fullmatch(r"(\D*)(\d+)", name) for name in names) if match]
    numbers = [int(match[2]) for match in found]
    first = min(numbers, default=2)
    told = first < 2 and len({match[1] for match in found}) == 1 and sorted(numbers) == list(range(first, first + len(names)))
    return [number - first for number in numbers] if told else None


def _bare(names: Sequence[str]) -> list[str]:
    """Names as letters and digits alone, without the subject's, where there is one: ``P07:Head``."""
    subjects = {subject for name in names if (subject := name.rpartition(":")[0])}
    return [re.sub(r"[\W_]+", "", name.rpartition(":")[2] if len(subjects) == 1 else name).casefold() for name in names]


def _respelt(known: Layout, joints: Sequence[str], names: Sequence[str], parents: Sequence[int] | None) -> Layout:
    """A layout of skelzoo with its joints in another order, under other names; ``joints`` are its names for them."""
    new = dict(zip(joints, names, strict=True))
    ups = [known.parents[known.index(joint)] for joint in joints]
    return make_layout(
        f"{known.name}-{hashlib.sha256('|'.join(names).encode()).hexdigest()[:8]}", {new[j]: known.own.get(j) for j in joints},
        parents or [new[known.joints[up]] if up >= 0 else None for up in ups], center=new.get(known.center, known.center),
        mirror=[(new[a], new[b]) for a, b in known.mirror], parts={part: [new[j] for j in joints] for part, joints in known.parts.items()},
        links=[(new[a], new[b]) for a, b in known.links], points={p: {new[j]: w for j, w in mix.items()} for p, mix in known.points.items() if p not in known.own.values()},
        estimates={new[j]: {new[k]: w for k, w in mix.items()} for j, mix in known.estimates.items()}, dimensions=known.dimensions,
    )  # fmt: skip


def _parents(names: Sequence[str]) -> tuple[int, ...]:
    """The parent of each joint by its name; what hangs from nothing hangs from the hip centre, or else from the highest point of the trunk."""
    found = body_points(names)
    order = {joint: v for v, joint in enumerate(names)}
    limbs = {joint for point, joint in found.items() if point.startswith(("left_", "right_"))}
    trunk = (found.get(point) for point in ("hip_center", "neck_base", "neck", "head", "nose"))
    root = next((joint for joint in (*trunk, *(j for j in names if j not in limbs), *names) if joint is not None), None)
    up = dict.fromkeys(names, root)
    for point, joint in found.items():
        side, core = re.fullmatch(r"(left_|right_)?(.+)", point).groups("")  # type: ignore[union-attr]
        while core in _UP and joint != root:
            core = _UP[core]
            above = found.get(f"{side}{core}", found.get(core))
            if above is not None and above != joint:
                up[joint] = above
                break
    return tuple(-1 if joint == root else order[str(up[joint])] for joint in names)
