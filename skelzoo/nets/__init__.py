"""How the numbers are computed: plain ``torch.nn.Module`` classes on prepared tensors (N, C, T, V, M)."""

from typing import TYPE_CHECKING

from skelzoo.names import submodules

if not TYPE_CHECKING:
    __getattr__ = submodules(__name__)
