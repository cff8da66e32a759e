"""A shard of a store of embeddings, and the file that holds it until the store is done."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skelzoo.inference.files import Refusal
from skelzoo.inference.output import ClipId, spans, texts
from skelzoo.skeleton.io.files import ARRAY_ERRORS
from skelzoo.skeleton.writing import whole_file

DAMAGE = tuple(error for error in ARRAY_ERRORS if error not in (OSError, MemoryError))
"""What reading a damaged shard raises, without what the system refuses, which may go well another time."""


@dataclass(frozen=True)
class Shard:
    """What became of the clips of a shard: (n, D) float32, whose row i is ``ids[i]``, and (file, clip, error) of those refused."""

    vectors: NDArray[np.float32]
    ids: Sequence[ClipId]
    refused: Sequence[Sequence[str]]


def refusal_row(refusal: Refusal) -> tuple[str, str, str]:
    """A line of ``refused.csv``."""
    return refusal.file, refusal.clip, refusal.error.one_line


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard; errors as ``whole_file``."""
    names, files, labels, persons = (texts(shard.ids, field) for field in ("name", "file", "label", "person"))
    refused = np.array(shard.refused, np.str_).reshape(-1, 3)
    with whole_file(path) as file:
        np.savez(file, vectors=shard.vectors, names=names, files=files, labels=labels, refused=refused, spans=spans(shard.ids), persons=persons)


def read_shard(path: Path) -> Shard:
    """A shard as it was written; raises one of DAMAGE where the file is not as it was then."""
    try:
        with np.load(path, allow_pickle=False) as z:
            if z.zip.testzip() is not None:  # numpy reads as much as an array's header tells, and may miss the checksum at the end
                raise ValueError("its checksums do not fit")
            vectors = z["vectors"]
            persons = z["persons"] if "persons" in z else np.full(len(vectors), "")  # of versions that knew none
            rows = zip(vectors, z["names"].tolist(), z["files"].tolist(), z["labels"].tolist(), z["spans"].tolist(), persons.tolist(), strict=True)
            return Shard(vectors, [ClipId.of(*row) for _, *row in rows], z["refused"].tolist())
    except OSError as error:
        if error.errno == errno.EINVAL:  # the file tells that it begins before itself
            raise ValueError("it does not tell where its arrays are") from error
        raise
