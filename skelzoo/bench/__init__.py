"""What ``skelzoo bench`` measures on this machine."""

from typing import TYPE_CHECKING

from skelzoo.names import submodules

if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
