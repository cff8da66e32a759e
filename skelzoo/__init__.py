"""skelzoo: skeleton sequences in, vectors and action labels out.

Public names are resolved on first use, so that ``import skelzoo`` and ``skelzoo.list_models()`` import no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from skelzoo import errors as errors

if TYPE_CHECKING:
    from skelzoo.converting import Conversion, convert
    from skelzoo.inference.classification import Classification
    from skelzoo.inference.encoder import Encoder
    from skelzoo.loading import Verification, create, load, verify
    from skelzoo.nets.archs import Arch, register_arch
    from skelzoo.skeleton.clip import Clip, clips_from_array
    from skelzoo.skeleton.contract import Contract
    from skelzoo.skeleton.io import find_files, read
    from skelzoo.skeleton.io.array import save as save_clips
    from skelzoo.skeleton.io.joint_names import layout_from_names
    from skelzoo.skeleton.layouts import Layout, get_layout, list_layouts, make_layout
    from skelzoo.skeleton.persons import each_person, select_persons
    from skelzoo.skeleton.points import fill_missing
    from skelzoo.skeleton.prepare import prepare
    from skelzoo.skeleton.remap import Coverage, coverage, remap
    from skelzoo.skeleton.windows import windows
    from skelzoo.weights.listing import info, list_models

__version__ = "0.1.0"

_HOMES = {
    "Conversion": "converting", "convert": "converting", "Classification": "inference.classification", "Encoder": "inference.encoder", "create": "loading", "load": "loading",
    "verify": "loading", "Verification": "loading", "Arch": "nets.archs", "register_arch": "nets.archs",
    "Clip": "skeleton.clip", "clips_from_array": "skeleton.clip", "find_files": "skeleton.io", "read": "skeleton.io",
    "Layout": "skeleton.layouts", "get_layout": "skeleton.layouts", "list_layouts": "skeleton.layouts", "make_layout": "skeleton.layouts",
    "Contract": "skeleton.contract", "fill_missing": "skeleton.points", "prepare": "skeleton.prepare", "each_person": "skeleton.persons", "select_persons": "skeleton.persons",
    "Coverage": "skeleton.remap", "coverage": "skeleton.remap", "remap": "skeleton.remap", "info": "weights.listing", "list_models": "weights.listing",
    "layout_from_names": "skeleton.io.joint_names", "save_clips": "skeleton.io.array:save", "windows": "skeleton.windows",
}  # fmt: skip

__all__ = [
    "Arch", "Classification", "Clip", "Contract", "Conversion", "Coverage", "Encoder", "Layout", "Verification", "clips_from_array", "convert", "coverage", "create", "each_person", "fill_missing", "find_files",
    "get_layout", "info", "layout_from_names", "list_layouts", "list_models", "load", "make_layout", "prepare", "read", "register_arch", "remap", "save_clips", "select_persons", "verify", "windows",
]  # fmt: skip


# A type checker goes by the imports above, and would take any name for granted if it saw this.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            from skelzoo.names import PUBLIC, submodules

            return submodules(__name__, PUBLIC)(name)
        module, _, attribute = _HOMES[name].partition(":")
        value = getattr(importlib.import_module(f"skelzoo.{module}"), attribute or name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(["__version__", "errors", *__all__])
