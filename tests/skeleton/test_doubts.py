"""What is odd about clips that are taken all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

import skelzoo
from skelzoo import Clip, Contract, get_layout, prepare, windows
from skelzoo.errors import ClipError
from skelzoo.learn.cameras import film
from skelzoo.skeleton.doubts import warned_once
from skelzoo.skeleton.prepare import prepare_batch
from skelzoo.skeleton.procedural import make

RESAMPLE = {"step": "resample", "frames": 16}
SPACE, PICTURE = Contract("kinect20", 3, 1, 16, (RESAMPLE,)), Contract("coco17", 2, 1, 16, ({"step": "fill_gaps"}, RESAMPLE))
SEEN = Contract("kinect20", 2, 1, 16, PICTURE.steps)


def told(clip: Clip, contract: Contract = SPACE) -> list[str]:
    """What is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare(clip, contract)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("contract", [SPACE, SEEN], ids=["3-D", "2-D"])
@pytest.mark.parametrize(("turn", "says"), [
    ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], None), ([[1, 0, 0], [0, -1, 0], [0, 0, -1]], "[1, -1, -1]"),
    ([[1, 0, 0], [0, 0, 1], [0, -1, 0]], "[..., [0, 2, 1]] * [1, 1, -1]"), ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], "[..., [0, 2, 1]] * [1, -1, 1]"),
    ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], "[..., [1, 0, 2]] * [-1, 1, 1]"), ([[0, 1, 0], [-1, 0, 0], [0, 0, 1]], "[..., [1, 0, 2]] * [1, -1, 1]"),
])  # fmt: skip
def test_bodies_that_do_not_stand_along_y_are_warned_of(turn: list[list[int]], says: str | None, contract: Contract) -> None:
    """Also by models of 2-D joints, which see them from the front; and what is advised puts them back."""
    clip = make("squat", frames=20)
    turned = clip.replace(keypoints=clip.keypoints @ np.array(turn, np.float32))
    found = told(turned, contract)
    assert [says in text for text in found if says] == ([True] if says else []) and len(found) == bool(says)
    if says:
        order = next((o for o in ([0, 2, 1], [1, 0, 2]) if str(o) in says), [0, 1, 2])
        assert np.allclose(turned.keypoints[..., order] * np.array(eval(says.rpartition("* ")[2])), clip.keypoints)


@pytest.mark.parametrize("degrees", [-48, -20, 20, 48])
@pytest.mark.parametrize("axes", [[0, 1, 2], [2, 1, 0]], ids=["about x", "about z"])
def test_bodies_before_a_tilted_camera_are_warned_of(degrees: float, axes: list[int]) -> None:
    clip = make("walk", frames=40)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]], np.float32)[np.ix_(axes, axes)]
    found = told(clip.replace(keypoints=clip.keypoints @ turn))
    assert ["leans more than 40 degrees from the y axis" in text for text in found] == [True] * (abs(degrees) > 20)


@pytest.mark.parametrize("standing", [0, 60])
@pytest.mark.parametrize("turns", [1, 2.4])
@pytest.mark.parametrize("about", ["x", "z", "picture"])
def test_people_who_turn_over_are_told_no_axis(about: str, turns: float, standing: int) -> None:
    """Those who stand as long are, where it is another."""
    clip = make("wave", frames=60 + standing)
    clip, contract = (film(clip, 0), PICTURE) if about == "picture" else (clip, SPACE)
    angle = np.concatenate([np.zeros(standing), np.linspace(0, 2 * np.pi * turns, 60, endpoint=False)])
    plane = [1, 2] if about == "x" else [0, 1]
    turn = np.tile(np.eye(clip.channels), (len(angle), 1, 1))
    turn[:, plane, plane], turn[:, plane[0], plane[1]], turn[:, plane[1], plane[0]] = np.cos(angle)[:, None], np.sin(angle), -np.sin(angle)
    over = np.where(clip.keypoints.any(-1, keepdims=True), (clip.keypoints - clip.keypoints.max((0, 1, 2)) / 2) @ turn + clip.keypoints.max() / 2, 0)
    other = np.where(over.any(-1, keepdims=True), over @ np.diag([1, -1, -1][: clip.channels]), 0)
    assert not [text for text in told(clip.replace(keypoints=over), contract) if "spine" in text]
    assert ["the spine points down" in text for text in told(clip.replace(keypoints=other), contract) if "spine" in text] == [True] * bool(standing)


@pytest.mark.parametrize("turn", [[1, 1, -1], [-1, 1, 1], None], ids=["z", "x", "left and right"])
@pytest.mark.parametrize("motion", ["walk", "squat", "wave", "kick"])
def test_bodies_in_the_mirror_are_warned_of(turn: list[int] | None, motion: str) -> None:
    clip = make(motion, frames=40)
    assert not told(clip)
    keypoints = clip.keypoints * turn if turn else clip.keypoints[:, :, list(clip.layout.mirror_permutation)]
    with pytest.warns(UserWarning, match=r"^made-up: the feet point backwards.*\* \[1, 1, -1\]"):
        prepare(clip.replace(keypoints=keypoints, name="made-up"), SPACE)


def test_pictures_upside_down_are_warned_of() -> None:
    """Also where hips and shoulders are lost for most of the clip."""
    clip = film(make("squat", frames=40), 0).replace(image_size=None)
    clip.keypoints[:, :, :, 1] += 1000  # so that a lost joint, at the origin, is far above
    clip.keypoints[:, 5:, 11] = 0
    assert not told(clip, PICTURE)
    with pytest.warns(UserWarning, match=r"points down, as pixels do.*\* \[1, -1\]"):
        prepare(clip.replace(keypoints=clip.keypoints * np.float32([1, -1])), PICTURE)


@pytest.mark.parametrize(("turn", "says"), [
    (lambda x: x[..., ::-1], "y before x, give keypoints[..., ::-1]"), (lambda x: x[..., ::-1] * [1, -1], "on its side, keypoints[..., ::-1] * [-1, 1]"),
    (lambda x: x[..., ::-1] * [-1, 1], "give keypoints[..., ::-1] * [1, -1]"),
])  # fmt: skip
def test_pictures_on_their_side_are_warned_of(turn: Callable[[np.ndarray], np.ndarray], says: str) -> None:
    """And what is advised puts them back."""
    clip = film(make("squat", frames=40), 0)
    turned = clip.replace(keypoints=turn(clip.keypoints))
    (text,) = told(turned, PICTURE)
    assert text.startswith(f"{clip.name}: the spine points along x") and says in text
    assert np.array_equal(eval(says[says.index("keypoints") :], {"keypoints": turned.keypoints}), clip.keypoints)


def lose(keypoints: np.ndarray) -> np.ndarray:
    """The same with some joints of some frames at the origin."""
    lost = keypoints.copy()
    lost[np.random.default_rng(2).random(lost.shape[:3]) < 0.03] = 0
    return lost


@pytest.mark.parametrize("move", [lambda x: x + np.float32([0, 0, 3.5]), lambda x: x - x[:, :, :1]], ids=["before a camera", "centred in every frame"])
def test_joints_lost_at_the_origin_are_warned_of(move: Callable[[np.ndarray], np.ndarray]) -> None:
    """And what is advised finds them again; in pictures the steps do."""
    clip = make("walk", frames=40)
    right = move(clip.keypoints)
    keypoints = lose(right)
    absent = np.zeros_like(right[:, :5])
    (text,) = told(clip.replace(keypoints=np.concatenate([keypoints, absent], 1)))
    assert text.startswith(f"{clip.name}: joints jump to exactly (0, 0, 0)")
    filled = eval(text[text.index("skelzoo.fill_missing") :].split("; ")[0], {"skelzoo": skelzoo, "keypoints": keypoints})
    assert np.abs(keypoints - right).max() > 0.8 and np.abs(filled - right).max() < 0.3 and not told(clip.replace(keypoints=filled))
    film_clip = film(clip, 0)
    assert not told(film_clip.replace(keypoints=lose(film_clip.keypoints)), PICTURE)


@pytest.mark.parametrize("centred", [lambda x: x - x[:, :, :1], lambda x: x - x[:, :1, :1]], ids=["in every frame", "in the first frame"])
def test_what_a_clip_is_centred_on_is_not_lost(centred: Callable[[np.ndarray], np.ndarray]) -> None:
    clip = make("walk", frames=40)
    keypoints = np.concatenate([np.zeros_like(clip.keypoints[:, :3]), centred(clip.keypoints)], 1)
    assert not told(clip.replace(keypoints=keypoints))


def test_joints_lost_far_from_the_origin_turn_no_body() -> None:
    clip = make("squat", frames=40)
    keypoints = clip.keypoints + np.float32([0, 0, 3.5])
    keypoints[:, :8, [clip.layout.index(j) for j in ("ShoulderCenter", "LeftShoulder", "RightShoulder")]] = 0
    assert ["jump to exactly" in text for text in told(clip.replace(keypoints=keypoints))] == [True]


@pytest.mark.parametrize("where", [(0, slice(8, 13), 7), (0, slice(None), 7), (0, slice(8, 13))], ids=["for some frames", "always", "all joints"])
def test_numbers_for_joints_that_were_not_found_are_warned_of(where: tuple[object, ...]) -> None:
    """Here in millimetres, with a joint and frame; where they are filled as advised, nothing is said."""
    clip = make("walk", frames=40)
    keypoints = 1000 * clip.keypoints + np.float32([0, 0, 3500])
    keypoints[where] = -9999
    frame = 0 if where[1] == slice(None) else 8
    (text,) = [text for text in told(clip.replace(keypoints=keypoints)) if "a number such as -9999" in text]
    assert f"joint {clip.layout.joints[7 if len(where) == 3 else 0]!r} in frame {frame}, at (-9999.0, -9999.0, -9999.0)." in text
    keypoints[where] = np.nan
    if where[1] != slice(None):
        assert not told(clip.replace(keypoints=skelzoo.fill_missing(keypoints)))


def test_a_joint_that_is_none_of_the_body_may_be_anywhere() -> None:
    clip = make("walk", frames=40)
    layout = skelzoo.make_layout("mine", {**{j: clip.layout.own[j] for j in clip.layout.joints}, "Camera": None}, [*clip.layout.parents, None])
    assert not told(Clip(np.concatenate([clip.keypoints[0], np.full((40, 1, 3), 99)], 1), layout))


@pytest.mark.parametrize("order", ["utdmhad20", "backwards"])
def test_joints_in_another_order_are_warned_of_and_not_their_axes(order: str) -> None:
    clip = make("walk", frames=40)
    joints = clip.layout.joints[::-1] if order == "backwards" else get_layout(order).joints
    moved = clip.replace(keypoints=clip.keypoints[:, :, [clip.layout.index(j) for j in joints]])
    (text,) = told(moved)
    assert text.startswith(f"{clip.name}: the joints do not fit layout 'kinect20'") and "axis" not in text and "print(clip.layout.report())" in text


@pytest.mark.parametrize("clip", [make("wave", frames=40), skelzoo.remap(make("squat", frames=40), "ntu25")], ids=lambda clip: clip.layout.name)
@pytest.mark.parametrize("by", [1, -1])
def test_joints_that_are_all_shifted_by_one_are_warned_of(clip: Clip, by: int) -> None:
    contract = SPACE.replace(layout=clip.layout.name)
    assert not told(clip, contract)
    (text,) = told(clip.replace(keypoints=np.roll(clip.keypoints, by, 2)), contract)
    assert f"the joints do not fit layout {clip.layout.name!r}" in text


@pytest.mark.parametrize(("axis", "kept"), [(0, "[1, 2]"), (1, "[0, 2]"), (2, ":2")])
@pytest.mark.parametrize("value", [0, 3.5])
def test_joints_without_a_depth_are_warned_of(axis: int, kept: str, value: float) -> None:
    """And of nothing else: flat bodies have no spine and no limbs that tell."""
    clip = make("wave", frames=40)
    keypoints = clip.keypoints - np.float32([0, 1, 0])
    keypoints[..., axis] = value
    (text,) = told(clip.replace(keypoints=keypoints))
    assert f"all joints of a body have the same {'xyz'[axis]}" in text and f"Give keypoints[..., {kept}], " in text


@pytest.mark.parametrize(("place", "unit", "warned"), [([500_000, 0, 4_500_000], 1, True), ([500_000, 0, 4_500_000], 1000, True), ([0, 50_000, 0], 1, False)])
def test_bodies_far_from_the_origin_are_warned_of_and_moved_as_advised(place: list[float], unit: float, warned: bool) -> None:
    """Also where one of two persons comes later."""
    clip = make("walk", frames=40)
    clip = clip.replace(keypoints=np.concatenate([clip.keypoints, clip.keypoints + np.float32([1, 0, 0])]))
    keypoints, contract = unit * (clip.keypoints.astype(np.float64) + place), SPACE.replace(persons=2)
    keypoints[1, :15] = 0
    found = told(clip.replace(keypoints=keypoints), contract)
    assert ["so far from the origin that float32" in text for text in found] == [True] * warned
    for text in found:
        exec(text[text.index("there = ") :].rstrip("."), {"keypoints": keypoints})
        assert not told(clip.replace(keypoints=keypoints), contract) and not keypoints[1, :15].any()
        steps = unit * np.diff(clip.keypoints, axis=1)
        assert all(np.allclose(np.diff(keypoints[m, start:], axis=0), steps[m, start:], atol=1e-5 * unit) for m, start in ((0, 0), (1, 15)))


@pytest.mark.parametrize("beyond", [0, 0.4])
def test_shares_of_a_picture_are_warned_of(beyond: float) -> None:
    """Also where joints lie outside of it."""
    clip = film(make("squat", frames=40), 0)
    shares = clip.keypoints / np.float32([1920, 1080]) + np.float32([0, beyond])
    shares[0, 5, 16, 1] += 2 * (beyond == 0)  # one far below it
    with pytest.warns(UserWarning, match=r"keypoints \* \(width, height\)"):
        prepare(clip.replace(keypoints=shares), PICTURE)
    assert not told(clip.replace(keypoints=clip.keypoints - clip.keypoints.max((0, 1, 2)) + 1), PICTURE), "pixels from the opposite corner, up to 1"


def landmarks(clip: Clip) -> np.ndarray:
    """As MediaPipe has them: shares of a picture, and a depth from the hips on."""
    depth = np.random.default_rng(0).normal(scale=0.1, size=clip.keypoints.shape[:3])
    return np.concatenate([clip.keypoints / np.float32([1920, 1080]), depth[..., None]], -1)


@pytest.mark.parametrize("contract", [SPACE, PICTURE], ids=["3-D", "2-D"])
@pytest.mark.parametrize("turn", [[1, 1, 1], [1, -1, -1]], ids=["as it is", "turned upright"])
def test_shares_of_a_picture_with_a_depth_are_warned_of_and_not_their_axes(turn: list[int], contract: Contract) -> None:
    """Metres are not, whatever is up: of a child beside the origin of the room, and of a lifter's, centred on the hips."""
    clip = film(make("squat", frames=40), 0)
    (text,) = told(clip.replace(keypoints=landmarks(clip) * turn, image_size=None), contract)
    assert "x and y look like shares of a picture" in text and "--image-size" in text and "--up -y" not in text
    body = skelzoo.remap(make("wave", frames=40), "coco17")
    for metres in (0.6 * body.keypoints + np.float32([0.5, -0.05, 0.9]), body.keypoints - body.keypoints[:, :, 11:13].mean(2, keepdims=True)):
        for up in ([0, 1, 2], [0, 2, 1]):
            assert not [text for text in told(body.replace(keypoints=metres[..., up] * turn), contract) if "shares" in text]


def test_joints_at_minus_one_in_pictures_are_warned_of_and_set_to_zero_as_advised() -> None:
    clip = film(make("walk", frames=40), 0)
    keypoints = lose(clip.keypoints)
    given = np.where(keypoints.any(-1, keepdims=True), keypoints, np.float32(-1))
    (text,) = told(clip.replace(keypoints=given), PICTURE)
    assert "exactly (-1, -1)" in text
    exec(text[text.index("keypoints[") :].rstrip("."), {"keypoints": given})
    assert np.array_equal(given, keypoints)


@pytest.mark.parametrize(("size", "lost", "says"), [
    ((1080, 1920), 0, False), (None, 0, False), ((1920, 1080), 0, True), ((720, 1280), 0, True), ((1080, 1920), 3000, True),
])  # fmt: skip
def test_joints_outside_of_the_picture_are_warned_of(size: tuple[int, int] | None, lost: float, says: bool) -> None:
    """Not where some frames are, as of somebody who walks in."""
    keypoints = film(make("walk", frames=40), 0).keypoints + np.float32([900, 0])
    keypoints[0, :9] = lost
    keypoints[0, 9:12] += 9000 if lost == 3000 else 0
    found = [text for text in told(Clip(keypoints, "coco17", image_size=size), PICTURE) if "mostly outside of the picture" in text]
    assert all("in COCO annotations that do, correct width and height under images" in text for text in found)
    assert bool(found) == says and all(f"Here it is {size[1]} wide and {size[0]} high" in text for text in found if size)


@pytest.mark.parametrize(("share", "never"), [(0, ()), (0.01, ()), (0.06, ()), (0.06, (3, 9))])
def test_guessed_joints_of_pictures_are_warned_of_and_filled_as_advised(share: float, never: tuple[int, ...]) -> None:
    """Also where some are never known, by the next step that filling names."""
    rng, clip = np.random.default_rng(0), film(make("wave", frames=60), 0)
    lost = rng.random(clip.keypoints.shape[:3]) < share
    lost[:, :, list(never)] = True
    keypoints = np.where(lost[..., None], rng.uniform(0, 1000, clip.keypoints.shape), clip.keypoints).astype(np.float32)
    given = clip.replace(keypoints=keypoints, scores=np.where(lost, 0, np.maximum(clip.scores, 0.2)))
    texts = told(given, PICTURE)
    assert ["score of nearly 0 and a place" in text for text in texts] == [True] * (share > 0.02)
    if texts:
        advice = texts[0][texts[0].index("skelzoo.fill_missing") :].split("; ")[0]
        if never:
            with pytest.raises(ClipError, match=r"known in no frame.*: keypoints\[0, :, \[3, 9\]\] = 0\.") as error:
                eval(advice, {"skelzoo": skelzoo, "clip": given})
            exec(str(error.value).rpartition(": ")[2].rstrip("."), {"keypoints": given.keypoints})
        filled = given.replace(keypoints=eval(advice, {"skelzoo": skelzoo, "clip": given}))
        assert not told(filled, PICTURE) and not filled.keypoints[:, :, list(never)].any()


@pytest.mark.parametrize(("score", "of", "says"), [
    (0.2, ("knee", "ankle"), True), (0.2, ("hip", "knee", "ankle"), True), (0.05, ("ankle",), True), (0.02, ("knee",), True),
    (0.2, ("left_knee", "left_ankle"), False), (0.6, ("knee", "ankle"), False), (0.1, ("wrist",), False),
])  # fmt: skip
@pytest.mark.parametrize("scale", [1, 0.05, 6])
def test_legs_outside_of_the_picture_are_warned_of_and_set_to_zero_as_advised(score: float, of: tuple[str, ...], says: bool, scale: float) -> None:
    """On any scale of scores; and not those of one side, which the other hides."""
    clip = film(make("wave", frames=60), 0)
    cut = [i for i, joint in enumerate(clip.layout.joints) if joint.endswith(of)]
    scores = np.full(clip.keypoints.shape[:3], 0.9 * scale)
    scores[:, 3:, cut] = score * scale
    given = clip.replace(scores=scores)
    texts = told(given, PICTURE)
    assert ["scores below 0.3 of the shoulders'" in text for text in texts] == [True] * says
    if says:
        keypoints = given.keypoints.copy()
        exec(texts[0][texts[0].index("keypoints[") :].split(", left")[0], {"keypoints": keypoints})
        assert np.array_equal(np.flatnonzero(~keypoints.any((0, 1, 3))), cut)


@pytest.mark.parametrize(("low", "high"), [(0.002, 0.06), (-0.5, 6)], ids=["maxima of heatmaps", "logits"])
def test_scores_on_a_scale_of_their_own_are_no_guesses(low: float, high: float) -> None:
    clip = film(make("wave", frames=60), 0)
    scores = np.random.default_rng(0).uniform(low, high, clip.keypoints.shape[:3])
    assert (scores <= 0.01).mean() > 0.05 and not told(clip.replace(scores=scores), PICTURE)


@pytest.mark.parametrize(("f", "scale"), [(285, 1), (285, 4), (580, 1)], ids=["320 x 240", "MSR-Action3D", "640 x 480"])
def test_pixels_beside_a_depth_are_warned_of_and_unprojected_as_advised(f: float, scale: int) -> None:
    """And nothing else is said of them: what space they are in comes before its axes."""
    clip = make("wave", frames=40)
    x, y, z = np.moveaxis(clip.keypoints + np.float32([0, -0.9, -2.8]), -1, 0)  # the camera looks along -z
    cx, cy = f * 0.55, f * 0.42
    screen = np.stack([(cx - f * x / z).round(), (cy + f * y / z).round(), -1000 * scale * z], -1)
    (text,) = told(clip.replace(keypoints=screen))
    assert "look like pixels of a depth camera" in text and "X = (x - cx) * z / f, Y = -(y - cy) * z / f, Z = -z" in text
    u, v, depth = np.moveaxis(screen, -1, 0)
    back = clip.replace(keypoints=np.stack([(u - cx) * depth / f, -(v - cy) * depth / f, -depth], -1) / (1000 * scale))
    assert not told(back) and np.abs(back.keypoints - np.stack([x, y, z], -1)).max() < 0.01


@pytest.mark.parametrize(
    ("bending", "says"),
    [(4, None), (7, "odd0 and 6 more of 40 clips: the spine points along z"), (12, "odd0 and 11 more of 40 clips: the spine points along z")],
)
def test_axes_of_many_clips_are_judged_by_the_share_that_says_so(bending: int, says: str | None) -> None:
    clips = [make("squat", frames=10, seed=i) for i in range(40)]
    lying = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    odd = [c.replace(keypoints=c.keypoints @ np.float32(lying), name=f"odd{i}") if i < bending else c for i, c in enumerate(clips)]
    odd[-1] = odd[-1].replace(keypoints=odd[-1].keypoints @ np.float32([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_batch(odd, SPACE)
    texts = [str(w.message) for w in caught]
    assert [text.startswith(says or "") for text in texts] == [True] * bool(says)


@pytest.mark.parametrize(("lying", "says"), [(4, False), (12, True)])
def test_axes_of_windows_are_judged_by_the_recordings_that_say_so(lying: int, says: bool) -> None:
    """Those of people who lie are long: of 4 in 40 recordings come 24 of 60 windows."""
    clips = [make("squat", frames=60 if i < lying else 10, seed=i) for i in range(40)]
    turn = np.float32([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    odd = [c.replace(keypoints=c.keypoints @ turn, name=f"odd{i}") if i < lying else c.replace(name=f"even{i}") for i, c in enumerate(clips)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_batch([window for c in odd for window in windows(c, 10)], SPACE)
    assert [" of 100 clips: the spine points along z" in str(w.message) for w in caught] == [True] * says


def test_a_call_within_warned_once_says_nothing_twice() -> None:
    clips = [make("squat", frames=20, seed=i) for i in range(4)]
    odd = [c.replace(keypoints=c.keypoints * np.float32([1, -1, -1])) for c in clips]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with warned_once():
            prepare_batch(odd, SPACE), prepare_batch(odd[1:], SPACE), prepare(odd[2], SPACE)
        assert len(caught) == 1
        prepare(odd[2], SPACE)
    assert len(caught) == 2
