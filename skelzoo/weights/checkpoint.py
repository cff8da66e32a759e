"""safetensors and config.json <-> net. Strict: every tensor must be there, known and of the right shape."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from skelzoo.errors import CheckpointError, IntegrityError
from skelzoo.nets.archs import ARCHS, build
from skelzoo.skeleton.layouts import get_layout
from skelzoo.weights.manifest import FileInfo, ModelConfig

MODEL, CONFIG, GOLDEN, CARD, CHECKSUMS = "model.safetensors", "config.json", "golden.safetensors", "README.md", "checksums.json"


def file_info(path: Path) -> FileInfo:
    """Size and sha256 of a file."""
    return _info(path.read_bytes())


def _info(data: bytes) -> FileInfo:
    return FileInfo(len(data), hashlib.sha256(data).hexdigest())


def read_verified(folder: Path, name: str, files: Mapping[str, FileInfo]) -> bytes:
    """The bytes of a file of a weights folder, checked against what they must be.

    Raises:
        IntegrityError: the file is missing, not listed, or its size or sha256 differ.
    """
    path, expected = folder / name, files.get(name)
    if expected is None:
        raise IntegrityError(f"{path}: its sha256 is not listed, so it is not loaded. Save the folder again with encoder.save(...).")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.strerror}). Reinstall skelzoo, or save or fetch the folder again.") from error
    found = _info(data)
    if found != expected:
        raise IntegrityError(
            f"{path}: not the file it must be: {found.size} bytes with sha256 {found.sha256[:16]}..., expected {expected.size} bytes with {expected.sha256[:16]}.... "
            "It is damaged or was changed. Reinstall skelzoo, or save or fetch the folder again."
        )
    return data


def read_checksums(folder: Path) -> dict[str, FileInfo]:
    """``checksums.json`` of a folder written by ``save_folder``.

    Raises:
        CheckpointError: missing or not of that form.
    """
    path = folder / CHECKSUMS
    try:
        return {str(name): FileInfo(**row) for name, row in json.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: has no {CHECKSUMS}, so it is not a weights folder. Folders are written by encoder.save(...) and skelzoo convert."
        ) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a checksum list ({error}). Save the folder again with encoder.save(...).") from error


def read_config(folder: Path, files: Mapping[str, FileInfo]) -> ModelConfig:
    """``config.json`` of a weights folder, its sha256 checked first.

    Raises:
        IntegrityError: wrong bytes.
        CheckpointError: not a model config.
    """
    data = read_verified(folder, CONFIG, files)
    try:
        row = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / CONFIG}: not JSON ({error}). Save the folder again with encoder.save(...).") from error
    return ModelConfig.from_dict(row, str(folder / CONFIG))


def build_net(config: ModelConfig) -> nn.Module:
    """A net with random weights.

    Raises:
        CheckpointError: the arch is unknown or does not take the options, or clips of the contract do not fit the net.
    """
    c = config.contract
    net = build(config.arch, get_layout(c.layout), c.input_channels, config.num_classes, config.options)
    sizes = {**ARCHS[config.arch].options, **config.options}
    if sizes.get("num_frames", c.frames) != c.frames or sizes.get("num_persons", c.persons) != c.persons:
        raise CheckpointError(
            f"{config.arch}: the contract gives {c.frames} frames and {c.persons} persons, the options "
            + ", ".join(f"{n}={sizes[n]}" for n in ("num_frames", "num_persons") if n in sizes) + ". Make them the same."
        )  # fmt: skip
    return net


def load_weights(net: nn.Module, arch: str, folder: Path, files: Mapping[str, FileInfo], new_head: bool = False) -> None:
    """Fill a net from ``model.safetensors``.

    Args:
        new_head: leave the arch's head keys at their random values; nothing else may be missing.

    Raises:
        IntegrityError: wrong bytes.
        CheckpointError: missing, unexpected or mis-shaped tensors, each named; the net is left untouched.
    """
    path = folder / MODEL
    try:
        tensors = load_tensors(read_verified(folder, MODEL, files))
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}). Save the folder again with encoder.save(...).") from error
    state = net.state_dict()
    head = {k for k in state.keys() | tensors.keys() if new_head and k.startswith(ARCHS[arch].head)}
    _check_tensors(path, {k: v for k, v in state.items() if k not in head}, {k: v for k, v in tensors.items() if k not in head})
    net.load_state_dict({**{k: state[k] for k in head & state.keys()}, **{k: v for k, v in tensors.items() if k not in head}})


def _check_tensors(path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    problems = [f"missing {k}" for k in expected if k not in found] + [f"unexpected {k}" for k in found if k not in expected]
    problems += [
        f"{k} has shape {tuple(found[k].shape)}, the net needs {tuple(v.shape)}" for k, v in expected.items() if k in found and found[k].shape != v.shape
    ]
    problems += [f"{k} has type {found[k].dtype}, the net needs {v.dtype}" for k, v in expected.items() if k in found and found[k].dtype != v.dtype]
    if problems:
        shown = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(f"{path}: does not fit the net of its config: {shown}. The weights are of another model or version; nothing was loaded.")


def check_target(target: Path) -> None:
    """Check that a weights folder may be written there, before work that would be lost.

    Raises:
        CheckpointError: it exists and is not an older weights folder (and nothing else).
    """
    if target.exists() and not (target.is_dir() and _may_be_replaced({p.name for p in target.iterdir()})):
        raise CheckpointError(f"{target}: exists and is not a weights folder. Choose another name; nothing was written.")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that takes its place when all went well; nothing half-written is left.

    Raises:
        CheckpointError: the target exists and is not an older weights folder (and nothing else), or cannot be written.
    """
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written ({error.strerror}). Choose a folder you may write to.") from error
    try:
        yield scratch
        scratch.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.replace(target, old / "folder")
            os.replace(scratch, target)
            shutil.rmtree(old)
        else:
            os.replace(scratch, target)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{target}: cannot be written ({error}). Nothing half-written was left; make room or choose another folder.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _may_be_replaced(names: set[str]) -> bool:
    """Whether a folder of these files is empty or a weights folder that nobody added anything to."""
    return not names or (CHECKSUMS in names and names <= {MODEL, CONFIG, GOLDEN, CARD, CHECKSUMS})


def save_folder(target: Path, net: nn.Module, config: ModelConfig, golden: Mapping[str, Tensor], card: str) -> dict[str, FileInfo]:
    """Write a complete weights folder: model, config, golden, card and their checksums.

    Returns:
        Size and sha256 of each file.

    Raises:
        CheckpointError: the target cannot be written or is something else.
    """
    with new_folder(target) as folder:
        save_file({k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}, folder / MODEL)
        save_file({k: v.detach().cpu().contiguous() for k, v in golden.items()}, folder / GOLDEN)
        (folder / CONFIG).write_text(dump_json(config.to_dict()), encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        for name in (MODEL, GOLDEN):
            (folder / name).chmod(0o644)  # safetensors writes files only their owner can read
        files = {name: file_info(folder / name) for name in (MODEL, CONFIG, GOLDEN, CARD)}
        (folder / CHECKSUMS).write_text(dump_json({k: asdict(v) for k, v in files.items()}), encoding="utf-8")
    return files


def read_golden(folder: Path, files: Mapping[str, FileInfo]) -> dict[str, Tensor]:
    """``golden.safetensors``: keypoints, prepared, embedding and, with a head, logits.

    Raises:
        IntegrityError: wrong bytes.
        CheckpointError: not safetensors.
    """
    try:
        return dict(load_tensors(read_verified(folder, GOLDEN, files)))
    except SafetensorError as error:
        raise CheckpointError(f"{folder / GOLDEN}: not a safetensors file ({error}).") from error


def dump_json(row: Any) -> str:
    """JSON for people: indented, newline at the end."""
    return json.dumps(row, indent=2, ensure_ascii=False) + "\n"
