"""Which persons of a clip are taken: those that move most, or each apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import ClipError
from skelzoo.skeleton.clip import Clip, check_clip
from skelzoo.skeleton.doubts import Doubt, warn_of_clip
from skelzoo.skeleton.odd_frames import swapped
from skelzoo.skeleton.points import is_present
from skelzoo.skeleton.steps import motion_order


def select_persons(clip: Clip, count: int = 1) -> Clip:
    """The clip with only its ``count`` most moving persons, see ``most_moving``, in the order of the clip.

    Warns where others are there only while one of these is not, and where persons time and again change places, as those who are not tracked do.

    Raises:
        ClipError: no clip, or a count that is no whole number of at least 1.
    """
    chosen, found = select_doubtfully(clip, count)
    warn_of_clip(found, clip.name)
    return chosen


def select_doubtfully(clip: Clip, count: int) -> tuple[Clip, tuple[Doubt, ...]]:
    """``select_persons``, and what it would warn of, for callers with many clips."""
    check_clip(clip)
    if not isinstance(count, (int, np.integer)) or count < 1:
        raise ClipError(f"{clip.name}: {count!r} persons cannot be chosen. Give a whole number of at least 1.")
    if clip.persons <= count:
        return clip, ()
    chosen, there = np.sort(motion_order(clip.keypoints)[:count]), is_present(clip.keypoints)
    doubts = tuple(filter(None, (swapped(clip.keypoints), _several_ids(there, chosen))))
    return clip.take(persons=chosen), doubts


def each_person(clip: Clip) -> list[Clip]:
    """One clip per person, from the first frame to the last that he or she is in.

    Returns:
        Clips of one person, in the order of the clip, named ``NAME#ID``, where the ID is the one of ``person_ids``, or the number of the person, from 0 on, where nobody says;
        it is also their only ``person_ids``. ``first`` counts the frames of the recording. Who is in no frame is left out.

    Warns where persons time and again change places, as those who are not tracked do.

    Raises:
        ClipError: no clip.
    """
    each, found = each_doubtfully(clip)
    warn_of_clip(found, clip.name)
    return each


def each_doubtfully(clip: Clip, least: int = 1) -> tuple[list[Clip], tuple[Doubt, ...]]:
    """``each_person``, and what it would warn of, for callers with many clips.

    Args:
        least: frames that a person must be in; those in fewer, who are mostly found by mistake, are left out with a doubt.

    Raises:
        ClipError: no clip, or nobody is in so many frames.
    """
    check_clip(clip)
    there = is_present(clip.keypoints)
    ids, counts, each = clip.person_ids or tuple(map(str, range(clip.persons))), there.sum(axis=1), []
    few = np.count_nonzero((counts > 0) & (counts < least))
    for m in np.flatnonzero(counts >= max(least, 1)):
        frames = np.flatnonzero(there[m])
        one = clip.take(persons=m, frames=slice(frames[0], frames[-1] + 1), name=f"{clip.name}#{ids[m]}")
        each.append(one.replace(person_ids=(ids[m],)))
    if not each:
        raise ClipError(f"{clip.name}: nobody is in {least} frames or more, which the encoder needs. Leave it out or give a longer recording.")
    left_out = Doubt(f"persons who are in fewer than {least} frames are left out, as those found by mistake are.", f"Here they are {few} of {few + len(each)}.")
    return each, tuple(filter(None, (swapped(clip.keypoints), left_out if few else None)))


def check_choice(select_persons: bool, each_person: bool) -> None:
    """Raise ClipError where those that move most are asked for, and everyone too."""
    if select_persons and each_person:
        raise ClipError(
            "the persons that move most are asked for, and each person too. Give one of --select-persons and --each-person (select_persons, each_person)."
        )


def _several_ids(there: NDArray[np.bool_], chosen: NDArray[np.intp]) -> Doubt | None:
    """Whether somebody who is not chosen, of all who are there (M, T), could be one of the chosen while that one is not there."""
    room = there & (there[chosen].sum(axis=0) < len(chosen))
    for other in np.setdiff1d(np.flatnonzero(room.any(axis=1)), chosen):
        for one in chosen[~(there[chosen] & there[other]).any(axis=1)]:
            a, b = sorted((int(one), int(other)))
            return Doubt(
                "somebody is left out who is there only while one of the chosen is not, as where a tracker gave one person several ids. If they are two, all is well; "
                "else join them before.",
                f"Persons {a} and {b}, counted from 0: x = clip.keypoints.copy(); x[{a}] += x[{b}]; x[{b}] = 0; clip = clip.replace(keypoints=x, scores=None).",
            )
    return None
