"""How bytes become a net: the manifest, the sources of weights, strict checkpoints."""

from typing import TYPE_CHECKING

from skelzoo.names import submodules

if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
