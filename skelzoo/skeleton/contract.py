"""What a set of weights expects of a clip: layout, persons, frames, preparation steps and streams."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from skelzoo.errors import ContractError
from skelzoo.skeleton.layouts import get_layout
from skelzoo.skeleton.remap import MIN_COVERAGE
from skelzoo.skeleton.steps import check_step

STREAMS = ("joint", "bone", "motion")
"""In the order in which nets of several streams have them on the channel axis."""

STREAMS_HERE = {"step": "streams"}
"""The step at which a contract computes its streams, if it says where."""


@dataclass(frozen=True)
class Contract:
    """What a set of weights expects of a clip; it travels in ``config.json`` beside them.

    Attributes:
        layout: layout name of the net's joints; clips in other layouts are remapped by name.
        channels: coordinates C of a joint, 2 or 3.
        persons: M, the persons of a prepared clip; fewer are padded with zeros, more are refused unless a step chooses among them.
        frames: T, the frames of a prepared clip (the last step resamples to it).
        steps: preparation steps in order, each {"step": name, option: value, ...}; see ``skelzoo.skeleton.steps``. At
            {"step": "streams"} the streams are computed, without it after all steps; only resample can follow it (PSP: motion at
            the recording's own rate).
        streams: concatenated on the channel axis in this order: ``joint``, ``bone``, ``motion``.
        min_frames: shortest clip accepted, counted after empty frames are dropped.
        min_coverage: share of joints a remap must measure, see ``remap``.
    """

    layout: str
    channels: int
    persons: int
    frames: int
    steps: tuple[Mapping[str, Any], ...] = ()
    streams: tuple[str, ...] = ("joint",)
    min_frames: int = 2
    min_coverage: float = MIN_COVERAGE

    def __post_init__(self) -> None:
        if not isinstance(self.layout, str):
            raise ContractError(f"the contract's layout must be the name of a layout, not {self.layout!r}.")
        get_layout(self.layout)
        for name in ("channels", "persons", "frames", "min_frames"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1 or (name == "channels" and value not in (2, 3)):
                raise ContractError(f"the contract's {name} is {value!r}; it must be {'2 or 3' if name == 'channels' else 'a whole number of at least 1'}.")
        if isinstance(self.min_coverage, bool) or not isinstance(self.min_coverage, (int, float)) or not 0 <= self.min_coverage <= 1:
            raise ContractError(f"the contract's min_coverage is {self.min_coverage!r}; it must be a number from 0 to 1.")
        for name in ("steps", "streams"):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise ContractError(f"the contract's {name} must be a list, not {getattr(self, name)!r}.")
        unknown = [s for s in self.streams if s not in STREAMS]
        if unknown or not self.streams:
            raise ContractError(f"streams {list(self.streams)} are not known. Use one or more of {', '.join(STREAMS)}.")
        _check_steps(self.steps)

    @property
    def input_channels(self) -> int:
        """Channels of a prepared tensor: coordinates times streams."""
        return self.channels * len(self.streams)

    @property
    def streams_of_recording(self) -> bool:
        """Whether the streams are those of the recording's own frames, before any resampling."""
        return STREAMS_HERE in self.steps and all(s["step"] != "resample" for s in self.steps[: self.steps.index(STREAMS_HERE)])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (C, T, V, M) of one prepared clip."""
        return self.input_channels, self.frames, len(get_layout(self.layout)), self.persons

    def replace(self, **changes: Any) -> Contract:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        row = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**row, "steps": [dict(s) for s in self.steps], "streams": list(self.streams)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Contract:
        """Read back ``to_dict``.

        Raises:
            ContractError: missing, unknown or ill-typed fields.
        """
        if not isinstance(row, Mapping):
            raise ContractError(f"a contract is made of a dict, not of {type(row).__name__}. Give what contract.to_dict() gives.")
        fields = {f.name: f for f in dataclasses.fields(cls)}
        problem = wrong_keys(row, fields, ("layout", "channels", "persons", "frames"))
        if problem:
            raise ContractError(f"the contract has other fields than it must: {problem}. Its fields are: {', '.join(fields)}.")
        for name in ("steps", "streams"):
            if not isinstance(row.get(name, []), list):
                raise ContractError(f"the contract's {name} must be a list, not {row[name]!r}.")
        return cls(**{**row, "steps": tuple(row.get("steps", ())), "streams": tuple(row.get("streams", ("joint",)))})


def wrong_keys(row: Mapping[str, Any], known: Iterable[str], needed: Iterable[str]) -> str:
    """Which keys are unknown and which are missing, for a message; "" for none."""
    unknown, missing = sorted(set(row) - set(known)), sorted(set(needed) - set(row))
    newer = f"unknown are {', '.join(unknown)}, which a newer skelzoo may have written: upgrade skelzoo then" if unknown else ""
    return "; ".join(filter(None, (newer, f"missing are {', '.join(missing)}" if missing else "")))


def _check_steps(steps: Sequence[Mapping[str, Any]]) -> None:
    for step in steps:
        if not isinstance(step, Mapping) or step.get("step") != "streams":
            check_step(step)
        elif step != STREAMS_HERE:
            raise ContractError("step 'streams' takes no options. Which they are stands in the contract's streams.")
    after = [s["step"] for s in steps[steps.index(STREAMS_HERE) + 1 :]] if STREAMS_HERE in steps else []
    wrong = [name for name in after if name != "resample"]
    if wrong:
        raise ContractError(f"step 'streams' is followed by {', '.join(wrong)}, but after it only resample can stand. Move it behind them; it stands once.")
