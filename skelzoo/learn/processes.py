"""The processes of one run: starting them, and what they tell each other, so that together they do what one does with the whole batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from inspect import signature
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skelzoo.errors import DeviceError, MissingDependencyError, TrainingError
from skelzoo.inference.progress import quiet
from skelzoo.inference.runner import pick_device
from skelzoo.learn.training import auto_precision


def start(device: str, devices: int, nodes: int, precision: Any, idle_parameters: bool) -> Any:
    """Start the processes that are not running yet.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        devices, nodes: devices of each node, and nodes; ``fabric run`` and ``torchrun`` know better and win.
        precision: a name that Lightning Fabric knows, or ``auto``, which is bf16 where the device computes in it.
        idle_parameters: see ``Method``.

    Returns:
        The ``lightning_fabric.Fabric`` of this process.

    Raises:
        DeviceError: devices that are not on this machine, or are not as many as the tasks that SLURM started.
        MissingDependencyError: the ``train`` extra is not installed.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise MissingDependencyError("lightning-fabric", "train", "pretraining") from error
    chosen = pick_device(device)
    if dist.is_available() and dist.is_torchelastic_launched():
        devices, nodes = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"])
    elif _under_slurm():
        _check_slurm(devices, nodes)
    several, one_gpu = devices * nodes > 1, chosen.type == "cuda" and chosen.index is not None
    if several and (one_gpu or chosen.type == "mps"):
        raise DeviceError(f"{device} is one device, and {devices} on {nodes} node(s) were asked for. Give --device cuda or cpu, or --devices 1.")
    if chosen.type == "cuda" and devices > torch.cuda.device_count():
        raise DeviceError(f"{devices} devices were asked for, this machine has {torch.cuda.device_count()}. Give --devices that number, or --device cpu.")
    if precision == "auto":
        precision = auto_precision(chosen)
    # Every process computes the same statistics, so none has to be sent. torch 2.13 renamed the option.
    option = "forward_sync_buffers" if "forward_sync_buffers" in signature(nn.parallel.DistributedDataParallel).parameters else "broadcast_buffers"
    strategy = DDPStrategy(find_unused_parameters=idle_parameters, **{option: False}) if several else "auto"  # type: ignore[arg-type]
    try:
        with quiet("lightning_fabric"):
            fabric = Fabric(accelerator=chosen.type, strategy=strategy, devices=[chosen.index] if one_gpu else devices, num_nodes=nodes, precision=precision)
    except ValueError as error:
        if "LT_CLI_USED" not in os.environ:
            raise
        raise DeviceError(
            f"fabric run was given something else than this run computes with ({chosen.type}, {precision}). "
            "Leave --precision and --strategy out of fabric run, and let its --accelerator be this --device."
        ) from error
    if "LT_CLI_USED" not in os.environ:  # set by fabric run, after which Fabric has started already
        fabric.launch()
    return fabric


def is_first(devices: int, nodes: int) -> bool:
    """Whether this process is the first of its run, as far as the environment tells before they are started."""
    if dist.is_available() and dist.is_torchelastic_launched():
        return os.environ["RANK"] == "0"
    if devices * nodes == 1 and "LT_CLI_USED" not in os.environ and not _under_slurm():
        return True
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", *(["SLURM_PROCID"] if _under_slurm() else []))
    return all(os.environ.get(name, "0") == "0" for name in names)


def _under_slurm() -> bool:
    """Whether SLURM starts the processes, as Lightning tells it: tasks of an interactive job are runs of their own."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive") and "LT_CLI_USED" not in os.environ


def _check_slurm(devices: int, nodes: int) -> None:
    """Raise DeviceError unless SLURM's tasks are one for each device."""
    told = {name: os.environ.get(f"SLURM_{name}", "") for name in ("NTASKS", "NTASKS_PER_NODE", "NNODES")}
    tasks, on_each, its_nodes = told.values()
    # Lightning can do without the tasks on each node only where there is one task.
    if tasks != str(devices * nodes) or its_nodes not in (str(nodes), "") or on_each not in (str(devices), *([""] if tasks == "1" else [])):
        raise DeviceError(
            f"SLURM's tasks ({', '.join(f'SLURM_{name}={value}' for name, value in told.items())}) are not one for each device: {devices} device(s) on {nodes} node(s) were asked for. "
            f"Start them with srun --nodes {nodes} --ntasks-per-node {devices} skelzoo pretrain ... --devices {devices} --nodes {nodes}"
        )


def count() -> int:
    """Processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if count() > 1 else 0


def check_alike(folder: Path, **told: str) -> None:
    """Raise TrainingError in every process unless all have the same to tell as the first, and see the same folder."""
    if count() == 1:
        return
    with suppress(OSError):  # asks a network file system anew; where it cannot be made, it is not seen below
        folder.mkdir(parents=True, exist_ok=True)
    names: list[Any] = [None]
    with NamedTemporaryFile(dir=folder, prefix=".seen-") if rank() == 0 else nullcontext() as file:
        if file:
            names = [Path(file.name).name]
        dist.broadcast_object_list(names)
        everyone: list[Any] = [None] * count()
        dist.all_gather_object(everyone, (told, (folder / names[0]).is_file()))
    first = everyone[0][0]
    for i, (theirs, seen) in enumerate(everyone):
        other = [name for name in first.keys() | theirs if first.get(name) != theirs.get(name)]
        if other:
            raise TrainingError(f"process {i} has another {', '.join(sorted(other))} than process 0. Give all processes the same recipe, data and skelzoo.")
        if not seen:
            raise TrainingError(f"{folder} of process {i} is not that of process 0. Give an --out that all nodes see.")


@contextmanager
def told_of_loss() -> Iterator[None]:
    """Raise TrainingError where the block ends because another process did."""
    try:
        yield
    except RuntimeError as error:
        if count() == 1 or not (isinstance(error, dist.DistError) or "Connection" in str(error)):
            raise
        raise TrainingError(
            "another process of this run ended; what it said stands above or in its own log. The same command goes on from the last checkpoint."
        ) from error


class _Sum(torch.autograd.Function):
    """The sum over all processes. What each makes of it counts, so gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Any shape, the same in every process."""
        out = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient of the sum of all processes' losses."""
        return total(gradients[0])


_sum = torch.compiler.disable(_Sum.apply)  # type: ignore[no-untyped-call]
"""Compiled graphs end before it and begin again after it."""


def total(x: Tensor) -> Tensor:
    """Sum over all processes, with gradients; every process must call it."""
    out: Tensor = _sum(x) if count() > 1 else x
    return out


def mean(x: Tensor) -> Tensor:
    """Mean over all processes, with gradients; every process must call it."""
    return total(x) / count() if count() > 1 else x


def own_rows(x: Tensor) -> Tensor:
    """This process's share of the rows of the whole batch."""
    return x.tensor_split(count())[rank()]


def all_rows(x: Tensor) -> Tensor:
    """The rows of all processes in the order of the whole batch, with gradients; every process must give equally many."""
    if count() == 1:
        return x
    # Summing zeros is exact and works on every backend; what is gathered here is one vector per clip.
    return total(torch.cat([x if i == rank() else torch.zeros_like(x) for i in range(count())]))


class _SyncBatchNorm(_BatchNorm):
    """What torch's SyncBatchNorm does on GPUs, the only place where it runs."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) to the same shape, N of this process."""
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None and self.momentum is not None
        axes, shape = [i for i in range(input.ndim) if i != 1], (1, -1, *[1] * (input.ndim - 2))
        x = input.to(torch.promote_types(input.dtype, self.weight.dtype))
        sums = total(torch.cat([x.sum(axes), x.new_full((1,), x.numel() / x.shape[1])]))
        rows, mean = sums[-1], sums[:-1] / sums[-1]
        centred = x - mean.view(shape)
        variance = total(centred.square().sum(axes)) / rows
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * rows / (rows - 1), self.momentum)
        out = centred * (self.weight * (variance + self.eps).rsqrt()).view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm of a module take its statistics over all processes; parameters and buffers stay the same tensors."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.__class__ = _SyncBatchNorm
