"""Self-supervised pretraining: one file per method, one shared loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.learn.pretrain import augment, loop, recipe
else:
    __getattr__ = submodules(__name__)

__all__ = ["augment", "loop", "recipe"]
