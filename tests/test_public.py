"""The public names: all there, lazily, and errors under one roof."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import operator
import os
import pickle
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import make_encoder

import skelzoo
from skelzoo import errors
from skelzoo.inference.classification import Classification
from skelzoo.inference.store import Store
from skelzoo.learn.finetune_result import Epoch, FinetuneResult
from skelzoo.names import ENCODER, PUBLIC

ROOT = Path(__file__).resolve().parents[1]
INIT = ast.parse(Path(skelzoo.__file__).read_text())


def test_every_public_name_is_there_and_documented() -> None:
    for name in skelzoo.__all__:
        value = getattr(skelzoo, name)
        assert inspect.getdoc(value), name
    assert dir(skelzoo) == sorted({"__version__", "errors", *skelzoo.__all__})


def test_type_checkers_see_the_same_names() -> None:
    block = next(n for n in INIT.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {a.asname or a.name: f"{n.module}.{a.name}" for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert set(seen) == set(skelzoo.__all__)
    for name, home in seen.items():
        value = getattr(skelzoo, name)
        assert f"{value.__module__}.{value.__name__}" == home or home.startswith("skelzoo.skeleton.io."), name


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, capture_output=True, text=True)


def test_what_the_docs_name_is_there() -> None:
    pages = "".join(p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    names = set(re.findall(r"(?<![\w./-])skelzoo(?:\.[A-Za-z_]\w*)+(?![\w/])", pages)) - {"skelzoo.cli"}
    assert {"skelzoo.errors.SkelzooError", "skelzoo.learn.cameras.film", "skelzoo.load"} <= names
    assert not [name for name in names if pydoc.locate(name) is None]
    alone = "skelzoo.errors.SkelzooError, skelzoo.learn.cameras.film, skelzoo.skeleton.clip.mirrored, skelzoo.skeleton.io.corpus"
    assert run("-c", f"import skelzoo; {alone}").returncode == 0, "after import skelzoo alone"
    packages = {f"skelzoo.{'.'.join(p.relative_to(ROOT / 'skelzoo').parts[:-1])}" for p in ROOT.glob("skelzoo/*/**/__init__.py")} - {"skelzoo.cli"}
    assert len(packages) > 5 and all(hasattr(importlib.import_module(name), "__getattr__") for name in packages)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        skelzoo.lode  # noqa: B018
    assert not hasattr(skelzoo.learn, "prob") and not hasattr(skelzoo, "__main__")


def test_what_other_libraries_call_it_leads_to_what_there_is() -> None:
    encoder = make_encoder()
    for owner, answers in ((skelzoo, PUBLIC), (encoder, ENCODER)):
        for name, answer in answers.items():
            assert not hasattr(owner, name), name
            with pytest.raises(AttributeError, match=re.escape(answer.format(name=name))):
                getattr(owner, name)
            for called in re.findall(r"(skelzoo(?:\.\w+)+|encoder(?:\.\w+)+)", answer):
                value = operator.attrgetter(called.partition(".")[2])(encoder if called.startswith("encoder") else skelzoo)
                keywords = set(re.findall(rf"{re.escape(called)}\([^)]*?(\w+)=", answer))
                assert not keywords or keywords <= inspect.signature(value).parameters.keys(), answer
    with pytest.raises(AttributeError, match=r"no attribute 'embd'"):
        encoder.embd  # noqa: B018
    assert copy.deepcopy(encoder).labels == pickle.loads(pickle.dumps(encoder)).labels == encoder.labels


def test_submodules_do_not_hide_functions() -> None:
    import skelzoo.loading
    import skelzoo.skeleton.io

    assert callable(skelzoo.load) and callable(skelzoo.read) and callable(skelzoo.info)


def test_every_error_is_a_skelzoo_error_and_documented() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if c.__module__ == errors.__name__ and not issubclass(c, Warning)]
    assert len(classes) > 10 and all(issubclass(c, errors.SkelzooError) and c.__doc__ for c in classes)
    assert all(issubclass(c, (ValueError, LookupError, RuntimeError, ImportError, OSError)) for c in classes if c is not errors.SkelzooError)


def test_optional_packages_are_named_with_their_extra() -> None:
    assert 'pip install "skelzoo[train]"' in str(errors.MissingDependencyError("lightning-fabric", "train", "pretraining"))
    assert errors.ReadError(Path("a.bvh"), "is cut off", "Copy it again.").path == "a.bvh"


def test_what_is_shown_of_results_is_one_short_line() -> None:
    store, epoch = {"shards": 3}, Epoch(8, 0.1, 0.1, 100.0)
    pairs = {
        "Layout('kinect20': 20 joints, 3-D)": skelzoo.get_layout("kinect20"),
        "Coverage(kinect20 -> coco17: ": skelzoo.coverage("kinect20", "coco17"),
        "Classification(2 clips, 3 classes each)": Classification(np.full((2, 3), "a"), np.ones((2, 3), np.float32), np.ones((2, 3), np.int64)),
        "Store('s': 3 shards, not complete)": Store(Path("s"), store),
        "Store('s': 3 shards, 7 vectors of 16 numbers)": Store(Path("s"), {**store, "clips": 7, "dim": 16}),
        "FinetuneResult(2 classes, 12 clips, 100 % at epoch 8)": FinetuneResult(
            make_encoder(), {"a": (5, 1), "b": (4, 2)}, (epoch,) * 8, 8, np.eye(2, dtype=np.int64), ()
        ),
    }
    for shown, value in pairs.items():
        assert repr(value).startswith(shown) and len(repr(value)) < 80


def test_classes_are_printed_a_line_per_clip() -> None:
    labels, scores = np.array([["sit", "wave"]] * 22), np.array([[0.75, 0.25]] * 22, np.float32)
    printed = str(Classification(labels, scores, np.zeros((22, 2), np.int64))).splitlines()
    assert printed == ["sit 0.75, wave 0.25"] * 20 + ["and 2 more clips"]
    assert str(Classification(labels[:1], scores[:1], np.zeros((1, 2), np.int64))) == printed[0]
