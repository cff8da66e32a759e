"""How an encoder is made and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skelzoo.skeleton.lazy import submodules

if TYPE_CHECKING:
    from skelzoo.learn import cameras, evaluate, finetune, pretrain, probe, recordings, semi
else:
    __getattr__ = submodules(__name__)

__all__ = ["cameras", "evaluate", "finetune", "pretrain", "probe", "recordings", "semi"]
