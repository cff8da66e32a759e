"""Every recording of a folder to one vector each: python examples/embed_folder.py FOLDER vectors.npz [MODEL]."""

from __future__ import annotations

import sys

import numpy as np

import skelzoo
from skelzoo.inference.files import Refusal, prepare_items, read_files


def main(folder: str, out: str, model: str = "skeattnclr-openskel") -> None:
    """Read what can be read, say what cannot and why, embed the rest, write names and vectors. Of several persons those who move most are kept."""
    encoder = skelzoo.load(model)
    names, prepared = [], []
    for item in prepare_items(read_files([folder]), encoder.contract, select_persons=True):
        if isinstance(item, Refusal):
            print(f"left out: {item}", file=sys.stderr)
        else:
            prepared.append(item.array)
            names.append(item.id.name)
    if not prepared:
        sys.exit(f"nothing in {folder} can be embedded")
    z = encoder.embed(np.stack(prepared), prepared=True)
    np.savez(out, embeddings=z, names=names)
    print(f"{len(z)} clips, {z.shape[1]} numbers each -> {out}")

    unit = (z - z.mean(0)) / np.maximum(np.linalg.norm(z - z.mean(0), axis=1, keepdims=True), 1e-9)
    nearest = (unit @ unit.T - 2 * np.eye(len(z))).argmax(1)
    for name, j in zip(names, nearest, strict=True):
        print(f"{name}: most like {names[j]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
