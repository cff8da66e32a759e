"""What a skeleton is: layouts, clips, preparation and file formats. numpy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.skeleton import clip, io, layouts, prepare, procedural, remap, steps
else:
    __getattr__ = submodules(__name__)

__all__ = ["clip", "io", "layouts", "prepare", "procedural", "remap", "steps"]
