"""Which joint of an unknown rig stands for which point of the body, told from the joint names in common use."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

from skelzoo.skeleton.io.kinematics import path_to_root
from skelzoo.skeleton.layouts import Layout, Mix, get_layout, make_layout

_PREFIX = re.compile(r"^(?:.*[:|] *|mixamorig\d* *|(?:bip0*1|valvebiped|cc base|j bip c|j bip|def|org|rig|jt|jnt|b) +)(?=.)", re.IGNORECASE)

MOST = 0.6
"""A share of the names: a beginning or an end that more of them have is the rig's and no joint's. No side has so many."""

# Body point -> names without side, best first. A joint is used once, and the points are filled in this order: the knee
# must take "knee" or else "leg" (Mixamo) before the hip may take "leg" (rigs of leg, knee, ankle), and so on down the arm.
_SIDED = {
    "knee": "knee lowerleg loleg lowleg leglower lowerleg01 calf shin leg legroll legstretch tibia shank lowerthigh",
    "hip": "upleg upperleg legupper upperleg01 thigh thighstretch thighbend hip femur leg hipjoint upperthigh",
    "ankle": "ankle foot",
    "foot": "toebase toe toes toe0 ball foot forefoot bigtoe footindex mtp",
    "elbow": "elbow forearm farm lowerarm loarm lowarm armlower lowerarm01 forearmstretch forearmbend radius ulna larm",
    "shoulder": "upperarm uparm uarm armupper upperarm01 arm armstretch shldr shldrbend shoulder humerus armroll acromial",
    "wrist": "wrist hand radiushand",
    "hand": "hand fingerbase handmiddle1 middle1 mid1 middle01 middleproximal middlefinger1 finger2 fmiddle1 fmiddle01 handindex1 index1 palm",
    "hand_tip": "handmiddle4 handmiddle3 middle3 mid3 middle03 middledistal middlefinger3 finger22 fmiddle3 fmiddle03 fingers handindex3 handindex1 handtip",
    "thumb": "handthumb4 handthumb3 thumb3 thumb03 thumbdistal finger02 handthumb2 thumb2 thumb handthumb1 thumb1",
    "eye": "eye",
    "ear": "ear",
}
_MIDLINE = {
    "hip_center": "hips pelvis hip waist hipcenter spinebase root midhip",
    "neck_base": "spineshoulder shouldercenter neck neck1 neck01 necktwist01 lowerneck neck0 neckbase spine004",
    "neck": "neck",  # where a Kinect's joint is the neck's base
    "spine_low": "spine",  # of Kinect v1; of other rigs it may be anywhere
    "spine_mid": "spinemid",
    "nose": "nose",
    "head": "head spine006",
    "head_top": "headtop headtopend headend headtip",
}

# The same for the bones of ASF, where a joint is the END of its bone, as in cmu29: the knee is the femur's. A wrist bone is the forearm's outer third; the hand bends at its end.
_SIDED_ENDS = {
    "hip": "hipjoint", "knee": "femur", "ankle": "tibia", "foot": "foot", "shoulder": "clavicle", "elbow": "humerus", "wrist": "wrist radius", "hand_tip": "fingers",
    "thumb": "thumb",
}  # fmt: skip
_MIDLINE_ENDS = {"hip_center": "root", "spine_mid": "upperback", "neck_base": "lowerneck", "head": "head"}
_BONES = {("left", "hipjoint"), ("left", "femur"), ("left", "humerus")}

_WORDS = frozenset(name for table in (_SIDED, _MIDLINE, _SIDED_ENDS, _MIDLINE_ENDS) for names in table.values() for name in names.split())


def _split_all(joints: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Each joint's name as ``_split`` has it, without what most names begin or end with: ``Character1_Hips``, ``hips_JNT``."""
    bare = {joint: _bare(joint) for joint in joints}
    for pattern in (r"^\S+ (?=.)", r"(?<=.) \S+$"):
        shared: str | None = ""
        while shared is not None:
            parts = {joint: match[0] for joint, text in bare.items() if (match := re.search(pattern, text))}
            part, count = next(iter(Counter(parts.values()).most_common(1)), ("", 0))
            # What looks like a joint's own word is not, where all have it.
            shared = part if count == len(joints) or (count > MOST * len(joints) and part.strip().lower() not in _WORDS) else None
            bare = {joint: re.sub(pattern, "", text) if parts.get(joint, "") == shared else text for joint, text in bare.items()}
    return {joint: _split(text) for joint, text in bare.items()}


def _bare(joint: str) -> str:
    """A joint name as words, without prefixes in common use."""
    text, previous = re.sub(r"[_\-.\s]+", " ", joint), ""
    while text != previous:
        previous, text = text, _PREFIX.sub("", text, count=1)
    return text


def _split(text: str) -> tuple[str, str]:
    """A bare name as (side, core): ``LeftUpLeg`` is ("left", "upleg"), ``thigh L`` ("left", "thigh")."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).split()
    side = ""
    for i, word in enumerate(words):
        low = word.lower()
        if low in ("left", "l", "right", "r"):
            side = "left" if low[0] == "l" else "right"
            del words[i]
            break
    core = "".join(words).lower()
    if not side:
        for name in ("left", "right"):
            if core.startswith(name) or core.endswith(name):
                return name, core.removeprefix(name).removesuffix(name)
        if core[:1] in ("l", "r") and core[1:] in _WORDS:  # lthumb, rfemur, LHipJoint
            return ("left" if core[0] == "l" else "right"), core[1:]
    return side, core


def are_bones(joints: Sequence[str]) -> bool:
    """Whether these are names of ASF bones. Of joints that start their bones, as in BVH, they may be too."""
    return set(_split_all(joints).values()) >= _BONES


def parents_of_bones(joints: Sequence[str]) -> tuple[int, ...]:
    """The parent of each ASF bone, or the nearest one above that is there; others hang from the trunk's first, or else from the first of all."""
    cmu = get_layout("cmu29")
    names = list(_split_all(cmu.joints).values())
    up = {name: names[parent] for name, parent in zip(names, cmu.parents, strict=True) if parent >= 0}
    for side in ("left", "right"):
        up[side, "wrist"], up[side, "radius"] = (side, "radius"), (side, "humerus")
    split = _split_all(joints)
    order = {name: v for v, name in enumerate(split.values())}
    root = next((order[name] for name in names if not name[0] and name in order), 0)
    parents = []
    for name in split.values():
        above = up.get(name)
        while above is not None and above not in order:
            above = up.get(above)
        parents.append(root if above is None else order[above])
    parents[root] = -1
    return tuple(parents)


def body_points(joints: Sequence[str], ends: bool = False) -> dict[str, str]:
    """Body point -> joint, as far as the names tell; also ``neck_base`` and ``head_top``, which are no body points.

    Args:
        joints: joint names.
        ends: whether each joint is the end of the ASF bone of that name, not the start.
    """
    split = _split_all(joints)
    found: dict[str, str] = {}
    for side in ("left", "right", ""):
        by_core: dict[str, str] = {}
        for joint, (joint_side, core) in split.items():
            if joint_side == side:
                by_core.setdefault(core, joint)
        for point, names in ((_SIDED_ENDS if side else _MIDLINE_ENDS) if ends else _SIDED if side else _MIDLINE).items():
            match = next((name for name in names.split() if name in by_core), None)
            if match is not None:
                found[f"{side}_{point}" if side else point] = by_core.pop(match)
    if "neck_base" not in found or split[found["neck_base"]][1] != "shouldercenter":
        found.pop("spine_low", None)
    return found


@lru_cache(maxsize=256)
def guess_layout(joints: tuple[str, ...], parents: tuple[int, ...], lengths: tuple[float, ...], ends: bool = False) -> Layout:
    """A layout for a rig that is not among the known ones.

    Args:
        joints: joint names.
        parents: per joint the index of its parent, -1 for the root.
        lengths: bone from each joint to its parent in metres; they only weigh the mixes along the spine.
        ends: as of ``body_points``; the mixes of cmu29 are then preferred.

    Returns:
        Layout named ``rig<joints>-<hash>``, another for other joints or mixes. Joints whose names are not understood stand for nothing; ``remap`` then
        names the points that are missing.
    """
    found = body_points(joints, ends)
    if _on_the_floor(joints, parents, found):
        del found["hip_center"]
    own = {joint: point for point, joint in found.items() if point not in ("neck_base", "head_top")}
    points = _points(joints, parents, lengths, found) | (_points_of_bones(joints) if ends else {})
    own = {joint: point for joint, point in own.items() if point not in points}
    pairs = _mirror(joints)
    name = f"rig{len(joints)}-{hashlib.sha256('|'.join([*joints, *(f'{p}{m}' for p, m in points.items())]).encode()).hexdigest()[:8]}"
    return make_layout(
        name, {j: own.get(j) for j in joints}, [p if p >= 0 else None for p in parents], title="BVH rig, body points told from its joint names",
        center="hip_center" if "hip_center" in found or "hip_center" in points else None, mirror=pairs, parts=_parts(joints, parents, found), points=points,
    )  # fmt: skip


def _points_of_bones(joints: Sequence[str]) -> dict[str, Mix]:
    """The mixes of cmu29 whose bones are all there."""
    cmu = get_layout("cmu29")
    named, joint_of = _split_all(cmu.joints), {name: joint for joint, name in _split_all(joints).items()}
    mixes = {point: mix for point, mix in cmu.points.items() if point not in cmu.own.values() and all(named[bone] in joint_of for bone in mix)}
    return {point: {joint_of[named[bone]]: weight for bone, weight in mix.items()} for point, mix in mixes.items()}


def _on_the_floor(joints: Sequence[str], parents: Sequence[int], found: Mapping[str, str]) -> bool:
    """Whether the joint called root is no pelvis: both legs hang from one and the same joint below it."""
    centre, hips = found.get("hip_center"), [found.get(f"{side}_hip") for side in ("left", "right")]
    if centre is None or None in hips or _split_all(joints)[centre][1] != "root":
        return False
    left, right = ({joints[v] for v in path_to_root(parents, joints.index(str(hip)))} for hip in hips)
    return centre in left & right and len(left & right) > len(path_to_root(parents, joints.index(centre)))


def _points(joints: Sequence[str], parents: Sequence[int], lengths: Sequence[float], found: dict[str, str]) -> dict[str, Mix]:
    """Points of the trunk: mixes along the spine, and the middle between left and right where nothing else is there."""
    points: dict[str, Mix] = {}

    def middle(point: str) -> Mix | None:
        pair = [found.get(f"{side}_{point}") for side in ("left", "right")]
        return None if None in pair else {str(j): 0.5 for j in pair}

    if "neck_base" in found:
        points["shoulder_center"] = points["spine_shoulder"] = {found["neck_base"]: 1.0}
    elif shoulders := middle("shoulder"):
        points["shoulder_center"] = points["spine_shoulder"] = shoulders
    if "hip_center" not in found and (hips := middle("hip")):
        points["hip_center"] = hips
    if "head" in found and "head_top" in found:
        points["head"] = {found["head"]: 0.5, found["head_top"]: 0.5}
    elif "head" not in found and (face := middle("ear") or ({found["nose"]: 1.0} if "nose" in found else None)):
        points["head"] = face
    if "head" in found and "neck_base" in found and "neck" not in found:
        points["neck"] = {found["neck_base"]: 0.5, found["head"]: 0.5}
    elif "neck" not in found and "shoulder_center" in points and (head := points.get("head", {found["head"]: 1.0} if "head" in found else {})):
        points["neck"] = _between(points["shoulder_center"], head, 0.3)
    spine = _spine(joints, parents, found)
    low, high = ({found["hip_center"]: 1.0} if "hip_center" in found else points.get("hip_center")), points.get("shoulder_center")
    for point, share in (("spine_low", 0.2), ("spine_mid", 0.55)):
        if point in found:
            continue
        if spine:
            points[point] = _along(spine, joints, lengths, share)
        elif low and high:
            points[point] = _between(low, high, share)
    return points


def _between(low: Mix, high: Mix, share: float) -> Mix:
    """The place at that share of the way from one to the other."""
    return {j: (1 - share) * low.get(j, 0.0) + share * high.get(j, 0.0) for j in {**low, **high}}


def _spine(joints: Sequence[str], parents: Sequence[int], found: dict[str, str]) -> list[int]:
    """The joints from the hip centre up to the neck; empty when the names do not tell one of them."""
    if "hip_center" not in found or "neck_base" not in found:
        return []
    hips = joints.index(found["hip_center"])
    down = path_to_root(parents, joints.index(found["neck_base"]))
    return down[: down.index(hips) + 1][::-1] if hips in down else []


def _along(spine: Sequence[int], joints: Sequence[str], lengths: Sequence[float], share: float) -> Mix:
    """The place at that share of the way along a chain of joints, as a mix of the two joints around it."""
    left = share * sum(lengths[v] for v in spine[1:])
    for below, above in itertools.pairwise(spine):
        if lengths[above] > 0 and left <= lengths[above]:
            weight = left / lengths[above]
            return {joints[below]: 1 - weight, joints[above]: weight}
        left -= lengths[above]
    return {joints[spine[-1]]: 1.0}


def _mirror(joints: Sequence[str]) -> list[tuple[str, str]]:
    right: dict[str, str] = {}
    split = _split_all(joints)
    for joint, (side, core) in split.items():
        if side == "right":
            right.setdefault(core, joint)
    pairs = []
    for joint, (side, core) in split.items():
        if side == "left" and core in right:
            pairs.append((joint, right.pop(core)))
    return pairs


def _parts(joints: Sequence[str], parents: Sequence[int], found: dict[str, str]) -> dict[str, list[str]]:
    """Limbs are all that hangs from a shoulder or hip joint; the rest is trunk. Empty unless all four limbs are found."""
    starts = {found.get(f"{side}_{point}"): f"{side}_{limb}" for side in ("left", "right") for point, limb in (("shoulder", "arm"), ("hip", "leg"))}
    if None in starts:
        return {}
    parts: dict[str, list[str]] = {"trunk": [], **{limb: [] for limb in starts.values()}}
    for v, joint in enumerate(joints):
        limb = next((starts[joints[u]] for u in path_to_root(parents, v) if joints[u] in starts), "trunk")
        parts[limb].append(joint)
    return parts
