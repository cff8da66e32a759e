"""How an encoder is run."""

from typing import TYPE_CHECKING

from skelzoo.names import submodules

if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
