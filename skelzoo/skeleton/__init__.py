"""What a skeleton is: layouts, clips, preparation and file formats. numpy only."""

from typing import TYPE_CHECKING

from skelzoo.names import submodules

if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
