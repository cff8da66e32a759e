"""Every recording of a folder to one vector each: python examples/embed_folder.py FOLDER vectors.npz [MODEL]."""

from __future__ import annotations

import sys

import numpy as np

import skelzoo
from skelzoo.errors import SkelzooError


def main(folder: str, out: str, model: str = "skeattnclr-openskel") -> None:
    """Read what can be read, say what cannot and why, embed the rest, write names and vectors."""
    encoder = skelzoo.load(model)
    names, prepared = [], []
    for file in skelzoo.find_files(folder):
        try:
            clips = skelzoo.read(file)
        except SkelzooError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        for clip in clips:
            if clip.persons > encoder.contract.persons:
                print(f"{clip.name}: {clip.persons} persons, those who move most are kept", file=sys.stderr)
            try:
                prepared.append(skelzoo.prepare(skelzoo.select_persons(clip, encoder.contract.persons), encoder.contract))
                names.append(clip.name)
            except SkelzooError as error:
                print(f"left out: {file}: {error}", file=sys.stderr)
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
