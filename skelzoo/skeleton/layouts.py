"""Joint layouts as data: which joint is number 7, who its parent is, which point of the body it stands for.

The tables are in ``layouts.json``. A layout names its own joints and says, for a shared vocabulary of body
points (``hip_center``, ``left_wrist``, ...), which joint or weighted mix of joints stands for each. That one
table per layout is what makes any layout convertible to any other by name (see ``remap``).
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any

from skelzoo.errors import LayoutError

FACE_POINTS = frozenset({"nose", "left_eye", "right_eye", "left_ear", "right_ear"})
HEAD_POINTS = frozenset({"neck", "head", "head_top"}) | FACE_POINTS
TORSO_POINTS = frozenset({"left_shoulder", "right_shoulder", "left_hip", "right_hip"})

KNOWN_AS = {
    r"azure|k4a|kinect(32|dk|v?[34](?!\d))": ("azurekinect32",),
    r"kinect(25|(for)?(xbox)?one|(forwindows)?v?2(?!\d))|ntu|pku": ("ntu25",),
    r"kinect((for)?(xbox)?360|(forwindows)?v?1(?!\d))|ucla": ("kinect20",),
    r"kinect": ("kinect20", "ntu25", "azurekinect32"),
    r"mediapipe|blazepose": ("mediapipe33",),
    r"kinetics|(coco|openpose)18": ("openpose18",),
    r"openpose\d|body25": ("body25",),
    r"openpose": ("body25", "openpose18"),
    r"halpe": ("halpe26",),
    r"alphapose": ("coco17", "halpe26"),
    r"coco|movenet|posenet|yolo|ultralytics|vitpose|mmpose|rtmpose|hrnet|detectron": ("coco17",),
    r"h36m|human36|motionbert|videopose": ("h36m17",),
    r"smpl[hx]|humanml": ("smpl22",),
    r"smpl|amass": ("smpl24", "smpl22"),
    r"hdm05": ("cmu29",),
    r"utd|mhad": ("utdmhad20",),
    r"vicon|nexus|optitrack|motive|xsens|mixamo|rokoko|unity|blender": (),
}
"""What people call joints, in small letters without separators, the first that fits -> the layouts that they may mean; of rigs of all kinds none."""

Mix = Mapping[str, float]
"""A point as a weighted mix of joints: joint name -> weight, weights summing to 1."""


@dataclass(frozen=True)
class Layout:
    """A joint set. Layouts are equal when all of this is.

    Attributes:
        name: short name, e.g. ``"kinect20"``.
        title: one line for people.
        joints: joint names in the order of the V axis.
        parents: index of each joint's parent, -1 for the root.
        center: joint (or body point) the layout is usually centred on.
        mirror: (left, right) joint names.
        parts: trunk, left_arm, right_arm, left_leg, right_leg -> joint names; every joint is in exactly one.
        links: pairs of joints linked besides child and parent (COCO's shoulders and hips), for undirected graphs.
        points: body point -> mix of joints, everything this layout can tell about the body.
        own: joint name -> the body point that joint is, for those that are one.
        estimates: joint -> mix of this layout's other joints, used when a source has no such joint
            (a hand is the forearm extended by 0.3); ``remap`` reports every use.
        dimensions: 2 or 3, the usual number of coordinates.
    """

    name: str
    title: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    center: str
    mirror: tuple[tuple[str, str], ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()
    points: Mapping[str, Mix] = field(default_factory=dict)
    own: Mapping[str, str] = field(default_factory=dict)
    estimates: Mapping[str, Mix] = field(default_factory=dict)
    dimensions: int = 3

    def __repr__(self) -> str:
        return f"Layout({self.name!r}: {len(self.joints)} joints, {self.dimensions}-D)"

    def __len__(self) -> int:
        return len(self.joints)

    def __hash__(self) -> int:
        return hash((self.name, self.joints, self.parents))

    def index(self, joint: str) -> int:
        """Position of a joint on the V axis. Raises LayoutError with near names."""
        try:
            return self._index[joint]
        except KeyError:
            near = difflib.get_close_matches(str(joint), self.joints, 3, 0.4)
            raise LayoutError(
                f"layout {self.name!r} has no joint {joint!r}. " + (f"Near names: {', '.join(near)}." if near else f"Its joints: {', '.join(self.joints)}.")
            ) from None

    @cached_property
    def _index(self) -> dict[str, int]:
        return {joint: i for i, joint in enumerate(self.joints)}

    def mix(self, name: str) -> dict[int, float] | None:
        """A body point, or else the joint of that name, as {joint index: weight}; None when this layout cannot tell where it is."""
        return {self._index[name]: 1.0} if name not in self.points and name in self._index else self.point(name)

    def point(self, name: str) -> dict[int, float] | None:
        """A body point as {joint index: weight}; None when no joint or mix was said to be it, whatever the joints are called."""
        mix = self.points.get(name)
        return None if mix is None else {self._index[j]: w for j, w in mix.items()}

    @cached_property
    def part_indices(self) -> tuple[tuple[int, ...], ...]:
        """Joint indices of each body part, in the order of ``parts``."""
        return tuple(tuple(self.index(j) for j in part) for part in self.parts.values())

    @cached_property
    def subpart_indices(self) -> tuple[tuple[int, ...], ...]:
        """Each body part cut into its half nearer the hip centre and its outer half, along the skeleton, in the order of ``parts``.

        On ``ntu25`` and ``kinect20`` these are the ten parts of PSP Learning; other layouts follow the same rule.
        """
        hip = next((self.index(j) for j, p in self.own.items() if p == "hip_center"), self.parents.index(-1))
        distance = self._distances(hip)
        halves = []
        for part in self.part_indices:
            ordered = sorted(part, key=lambda j: (distance[j], j))
            middle = (len(ordered) + 1) // 2
            halves += [tuple(sorted(half)) for half in (ordered[:middle], ordered[middle:]) if half]
        return tuple(halves)

    @cached_property
    def region_indices(self) -> dict[str, tuple[int, ...]]:
        """The six regions that SkeletonMAE masks: head, torso with shoulders and hips, and what is left of each limb."""
        torso = {self._index[j] for j, p in self.own.items() if p in TORSO_POINTS}
        head = {self._index[j] for j, p in self.own.items() if p in HEAD_POINTS}
        for _ in self.joints:  # and what hangs from it
            head |= {v for v, parent in enumerate(self.parents) if parent in head}
        regions: dict[str, list[int]] = {"head": [], "torso": []}
        for name, part in zip(self.parts, self.part_indices, strict=True):
            for joint in part:
                region = "torso" if joint in torso else name if name != "trunk" else "head" if joint in head else "torso"
                regions.setdefault(region, []).append(joint)
        return {name: tuple(sorted(joints)) for name, joints in regions.items() if joints}

    def _distances(self, start: int) -> list[int]:
        """Steps along the skeleton from a joint to each joint; joints of another tree come last."""
        neighbours: list[list[int]] = [[] for _ in self.joints]
        for child, parent in enumerate(self.parents):
            if parent >= 0:
                neighbours[child].append(parent)
                neighbours[parent].append(child)
        distance, queue = {start: 0}, [start]
        for joint in queue:
            fresh = [j for j in neighbours[joint] if j not in distance]
            distance |= dict.fromkeys(fresh, distance[joint] + 1)
            queue += fresh
        return [distance.get(j, len(self)) for j in range(len(self))]

    def report(self) -> str:
        """Text that says what each joint stands for, and of which joints the other body points are mixed."""
        alone: dict[str, list[str]] = {joint: [] for joint in self.joints}
        mixed = []
        for point, mix in self.points.items():
            if len(mix) == 1:
                alone[next(iter(mix))].append(point)
            else:
                mixed.append(f"  {point}: mixed of " + " + ".join(f"{weight:.2g} {joint}" for joint, weight in mix.items()))
        told = sum(map(bool, alone.values()))
        head = f"{self.name}: {told} of {len(self)} joints stand for a body point"
        return "\n".join([head, *(f"  {joint} -> {', '.join(points) or 'none'}" for joint, points in alone.items()), *mixed])

    @cached_property
    def mirror_permutation(self) -> tuple[int, ...]:
        """For each joint the index of its mirror image (itself on the midline)."""
        order = list(range(len(self)))
        for left, right in self.mirror:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return tuple(order)


def make_layout(
    name: str,
    joints: Sequence[str] | Mapping[str, str | None],
    parents: Sequence[str | int | None],
    *,
    title: str = "",
    center: str | None = None,
    mirror: Sequence[Sequence[str]] = (),
    parts: Mapping[str, Sequence[str]] | None = None,
    links: Sequence[Sequence[str]] = (),
    points: Mapping[str, str | Mix] | None = None,
    estimates: Mapping[str, Mix] | None = None,
    dimensions: int = 3,
    strict: bool = True,
) -> Layout:
    """Build and check a layout of your own. Clips and ``skelzoo.create`` take it; a Contract, and with it an Encoder, has built-in layouts alone, to which such clips are remapped.

    Args:
        name: short name, for messages and saved clips.
        joints: joint names in order, those of body points being these; or a mapping joint name -> the body point it is (None: it is none).
        parents: per joint its parent's name or index; None or -1 for the root.
        title: one line for people; the name by default.
        center: joint or body point the layout is usually centred on; the first joint by default.
        mirror: (left, right) pairs of joints.
        parts: trunk, left_arm, right_arm, left_leg, right_leg -> their joints, every joint in exactly one; needed by nets that go by body parts.
        links: pairs of joints linked besides child and parent.
        points: further body points as a joint name or {joint: weight}.
        estimates: joint -> {other joint: weight}, where it is put when a recording lacks it.
        dimensions: 2 or 3, the usual number of coordinates.
        strict: refuse a body point that looks like one of skelzoo's misspelt.

    Raises:
        LayoutError: arguments of other types, no joints, repeated names or points, a point that looks like another one misspelt, not one parent per joint, a parent that is not
            a joint, a cycle, weights that do not sum to 1, mirror or links that are no pairs, any name in the rest that is not a joint, a centre that
            is neither joint nor point, parts that do not hold every joint once, or dimensions other than 2 and 3.
    """
    _check_types(name, {"joints": joints, "parents": parents, "mirror": mirror, "links": links}, {"parts": parts, "points": points, "estimates": estimates})
    names = tuple(joints)
    own = {j: p for j, p in joints.items() if p} if isinstance(joints, Mapping) else {j: j for j in names if j in body_points() and j not in (points or {})}
    _check_given(name, names, [*own.values()], (*own.values(), *(points or {})) if strict else (), [*mirror, *links])
    if len(parents) != len(names):
        raise LayoutError(f"layout {name!r}: {len(names)} joints but {len(parents)} parents. Give one parent per joint.")
    order = {j: i for i, j in enumerate(names)}

    def parent_index(parent: str | int | None) -> int:
        index = -1 if parent is None else order.get(parent, -2) if isinstance(parent, str) else int(parent)
        if not -1 <= index < len(names):
            raise LayoutError(f"layout {name!r}: parent {parent!r} is not one of its joints.")
        return index

    mixes = {p: {j: 1.0} for j, p in own.items()}
    mixes |= {p: {v: 1.0} if isinstance(v, str) else dict(v) for p, v in (points or {}).items()}
    layout = Layout(
        name=name, title=title or name, joints=names, parents=tuple(parent_index(p) for p in parents),
        center=center or names[0], mirror=tuple((a, b) for a, b in mirror),
        parts={k: tuple(v) for k, v in (parts or {}).items()}, links=tuple((a, b) for a, b in links), points=mixes, own=own,
        estimates={j: dict(m) for j, m in (estimates or {}).items()}, dimensions=dimensions,
    )  # fmt: skip
    _check(layout)
    return layout


def _check_types(name: str, lists: Mapping[str, Any], dicts: Mapping[str, Any]) -> None:
    for what, value in lists.items():  # one that can be gone through once only would be empty the second time
        if isinstance(value, str) or not isinstance(value, Collection) or (isinstance(value, Mapping) and what != "joints"):
            raise LayoutError(f"layout {name!r}: {what} are of type {type(value).__name__}. Give a list.")
    odd = next((joint for joint in lists["joints"] if not isinstance(joint, str)), None)
    if odd is not None:
        raise LayoutError(f"layout {name!r}: {odd!r} among joints is no text. Give their names.")
    for what, value in dicts.items():
        if not isinstance(value, Mapping | None):
            raise LayoutError(f"layout {name!r}: {what} are of type {type(value).__name__}. Give a dict.")


def _check_given(name: str, joints: Sequence[str], own: Sequence[str], spelt: Iterable[str], pairs: Sequence[Sequence[str]]) -> None:
    again = ", ".join(repr(joint) for joint, count in Counter(joints).items() if count > 1)
    if not joints or again:
        problem = f"joint names repeat: {again}" if joints else "it has no joints"
        raise LayoutError(f"layout {name!r}: {problem}. Give at least one joint, and every joint a name of its own.")
    twice = next((point for i, point in enumerate(own) if point in own[:i]), None)
    if twice is not None:
        raise LayoutError(f"layout {name!r}: two of its joints are the body point {twice!r}. Say which is; a mix of both goes into points=.")
    for point in spelt:
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", point).lower()
        near = [] if point in body_points() else difflib.get_close_matches(snake, body_points(), 1, 0.85)
        if near:
            raise LayoutError(
                f"layout {name!r}: no layout of skelzoo knows the body point {point!r}. Did you mean {near[0]}? A point of your own needs another name."
            )
    odd = next((pair for pair in pairs if isinstance(pair, str) or not isinstance(pair, Collection) or len(pair) != 2), None)
    if odd is not None:
        raise LayoutError(f"layout {name!r}: {odd!r} among mirror and links is no pair. Give them as (joint, joint).")


def _check(layout: Layout) -> None:
    if layout.dimensions not in (2, 3):
        raise LayoutError(f"layout {layout.name!r}: dimensions are {layout.dimensions!r}. Give 2 or 3, the number of coordinates of a joint.")
    for i in range(len(layout)):
        seen, j = set(), i
        while j >= 0:
            if j in seen:
                raise LayoutError(f"layout {layout.name!r}: joint {layout.joints[i]!r} is its own ancestor.")
            seen.add(j)
            j = layout.parents[j]
    for what, mix in [*layout.points.items(), *layout.estimates.items()]:
        for joint in mix:
            layout.index(joint)
        if abs(sum(mix.values()) - 1) > 1e-3:
            raise LayoutError(f"layout {layout.name!r}: the weights of {what!r} sum to {sum(mix.values())}, not 1.")
    for joint in [*layout.estimates, *(j for pair in (*layout.mirror, *layout.links) for j in pair)]:
        layout.index(joint)
    if layout.mix(layout.center) is None:
        raise LayoutError(f"layout {layout.name!r}: its centre {layout.center!r} is neither a joint nor a point of it.")
    if layout.parts and sorted(j for p in layout.parts.values() for j in p) != sorted(layout.joints):
        raise LayoutError(f"layout {layout.name!r}: its parts do not hold every joint exactly once.")


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = resources.files("skelzoo.skeleton").joinpath("layouts.json").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table


@cache
def body_points() -> frozenset[str]:
    """Names of the body points that the layouts of skelzoo know, by which joints are matched."""
    return frozenset(point for row in _table().values() for point in (*dict(row["joints"]).values(), *row.get("points", ())) if point)


def list_layouts() -> list[str]:
    """Names of the layouts that come with skelzoo."""
    return list(_table())


def layouts_with(joints: int) -> list[str]:
    """Names of the layouts of skelzoo that have that many joints."""
    return [name for name, row in _table().items() if len(row["joints"]) == joints]


@cache
def _load(name: str) -> Layout:
    return make_layout(name, **_table()[name])


def get_layout(layout: str | Layout) -> Layout:
    """The layout of that name; a Layout is passed through.

    Raises:
        LayoutError: unknown name; the message lists near names and how to make a layout of one's own.
    """
    if isinstance(layout, Layout):
        return layout
    if not isinstance(layout, str) or layout not in _table():
        near = _near(str(layout))
        raise LayoutError(
            f"no layout {layout!r}. {'Did you mean ' + ' or '.join(near) + '? ' if near else ''}"
            f"Known: {', '.join(list_layouts())}. For joints of your own use skelzoo.layout_from_names(names), or skelzoo.make_layout(name, joints, parents). "
            "Files of skelzoo.save_clips(path, clips) hold it, so that the command line reads them without --layout."
        )
    return _load(layout)


def _near(name: str) -> list[str]:
    """The layouts that may be meant by a name that is none."""
    bare = re.sub(r"[\W_]+", "", name).casefold()
    if bare in list_layouts():
        return [bare]
    meant = next((layouts for words, layouts in KNOWN_AS.items() if re.search(words, bare)), None)
    return difflib.get_close_matches(bare, list_layouts(), 3, 0.4) if meant is None else list(meant)


def find_layout(joints: Sequence[str]) -> Layout | None:
    """The layout that has exactly these joint names in this order, or None."""
    names = list(joints)
    for name, row in _table().items():
        if list(row["joints"]) == names:
            return get_layout(name)
    return None
