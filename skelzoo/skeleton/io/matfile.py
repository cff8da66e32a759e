"""Numeric arrays out of MATLAB v5 files (``save -v6`` and ``-v7``), by the published description of the format.

Not by scipy: its reader crashes the interpreter on some damaged files, and a crash cannot be turned into an error.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_FIRST_NUMERIC_CLASS, _LAST_NUMERIC_CLASS = 6, 15
_COMPLEX = 0x0800


class MatError(ValueError):
    """Bytes that are no MATLAB v5 file, or cut off, or damaged."""


def read_arrays(data: bytes) -> dict[str, NDArray[Any] | None]:
    """The variables of a file: arrays in MATLAB's shape where they are real numbers, None for texts, structs, cells, ...

    Raises:
        MatError: not such a file, cut off, damaged.
    """
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
    if order is None:
        raise MatError("the header of 128 bytes is not that of a MATLAB v5 file")
    found: dict[str, NDArray[Any] | None] = {}
    for kind, body in _elements(data[HEADER:], order):
        if kind == _COMPRESSED:
            try:
                inner = zlib.decompress(body)
            except zlib.error as error:
                raise MatError(str(error)) from None
            kind, body = next(_elements(inner, order), (0, b""))
        if kind == _MATRIX:
            name, array = _matrix(body, order)
            found[name] = array
    return found


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """(type, bytes) of the data elements one after another."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise MatError("it ends inside the tag of an element")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes of data lie in the tag itself
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + size if kind == _COMPRESSED else start + -(-size // 8) * 8
        if start + size > len(data) or (end == at + 8 and size > 4):
            raise MatError(f"an element promises {size} bytes, but {len(data) - start} are there")
        yield kind, data[start : start + size]
        at = end


def _matrix(body: bytes, order: str) -> tuple[str, NDArray[Any] | None]:
    parts = _elements(body, order)
    (_, flags), (dims_kind, dims), (_, name) = (next(parts, (0, b"")) for _ in range(3))
    if len(flags) != 8 or dims_kind != 5 or len(dims) < 8 or len(dims) % 4:
        raise MatError("a variable has no valid flags and dimensions")
    word = struct.unpack_from(f"{order}I", flags)[0]
    text = name.decode("latin-1")
    if not _FIRST_NUMERIC_CLASS <= (word & 0xFF) <= _LAST_NUMERIC_CLASS or word & _COMPLEX:
        return text, None
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    kind, values = next(parts, (0, b""))
    if kind not in _NUMBERS:
        raise MatError(f"the numbers of variable {text!r} are of the unknown type {kind}")
    dtype = np.dtype(order + _NUMBERS[kind])
    count = 1
    for size in shape:
        count *= size
    if min(shape) < 0 or count * dtype.itemsize != len(values):
        raise MatError(f"variable {text!r} of shape {shape} should have {count} numbers, but has {len(values) // dtype.itemsize}")
    return text, np.frombuffer(values, dtype).reshape(shape, order="F")
