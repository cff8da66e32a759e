"""What is built holds what is needed: wheel, sdist and editable install find the manifest and the data files."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

import skelzoo
from skelzoo.weights.manifest import manifest

ROOT = Path(__file__).resolve().parents[1]
LOOK = "import skelzoo, json; print(json.dumps([skelzoo.__file__, skelzoo.list_models(), skelzoo.list_layouts(), skelzoo.__version__]))"

DISTRIBUTIONS = {"sklearn": "scikit-learn"}
"""Packages that are installed under another name."""

if not (ROOT / "pyproject.toml").is_file():
    pytest.skip("not a source tree", allow_module_level=True)


def build(kind: str, source: Path, out: Path) -> Path:
    """Build with what is installed, without a fetched environment."""
    done = subprocess.run([sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", out, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def look(python: str, folder: Path, cwd: Path) -> list[object]:
    """What an interpreter sees of skelzoo in a folder, far from the sources."""
    done = subprocess.run([python, "-c", LOOK], cwd=cwd, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def expected(folder: Path) -> list[object]:
    return [str(folder / "skelzoo/__init__.py"), skelzoo.list_models(), skelzoo.list_layouts(), skelzoo.__version__]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {p.relative_to(ROOT).as_posix() for p in (ROOT / "skelzoo").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    pages = {f"skelzoo/{p.relative_to(ROOT).as_posix()}" for pattern in ("README.md", "docs/*.md", "examples/*.py") for p in ROOT.glob(pattern)}
    assert sources | pages | {"skelzoo/weights_manifest.json"} == {n for n in names if n.startswith("skelzoo/")}
    for needed in ("py.typed", "skeleton/layouts.json", "weights/manifest.schema.json", "learn/recipes/skeattnclr-openskel.json"):
        assert f"skelzoo/{needed}" in names
    for name, entry in manifest().models.items():
        for file in entry.weights.files if entry.weights and entry.weights.source == "bundled" else ():
            assert f"skelzoo/weights/bundled/{name}/{file}" in names
    rest = {n.split("/", 1)[1] for n in names if not n.startswith("skelzoo/")}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE", "licenses/LICENSE-CC-BY-NC-4.0.txt", "licenses/NOTICE"} <= rest
    assert all(n.startswith(("skelzoo/", "skelzoo-")) for n in names)


def test_the_wheel_works_away_from_the_sources(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert look(sys.executable, tmp_path / "site", tmp_path) == expected(tmp_path / "site")
    shown = [sys.executable, "-m", "skelzoo", "docs", "README.md"]
    done = subprocess.run(shown, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True)
    assert done.stdout == (ROOT / "README.md").read_text(encoding="utf-8") + "\n", done.stderr


def test_the_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    texts = {n.split("/", 1)[1]: archive.read(n).decode() for n in archive.namelist() if n.startswith("skelzoo-")}
    assert f"Version: {skelzoo.__version__}\n" in texts["METADATA"] and "Requires-Python: >=3.10\n" in texts["METADATA"]
    assert "skelzoo = skelzoo.cli:main" in texts["entry_points.txt"]
    bundled = {e.weights.license for e in manifest().models.values() if e.weights and e.weights.source == "bundled"}
    expression = next(line for line in texts["METADATA"].splitlines() if line.startswith("License-Expression: "))
    assert set(expression.removeprefix("License-Expression: ").split(" AND ")) == {"Apache-2.0", *bundled}


def imported_packages(path: Path) -> Iterator[tuple[str, bool]]:
    """Packages of others that a file imports, and whether it says what to do where one is missing."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    caught = [n for n in ast.walk(module) if isinstance(n, ast.Try) and any(h.type and ast.unparse(h.type) == "ImportError" for h in n.handlers)]
    optional = {id(n) for block in caught for n in ast.walk(block)}
    for node in ast.walk(module):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        yield from ((name.split(".")[0], id(node) in optional) for name in names if name.split(".")[0] not in {*sys.stdlib_module_names, "skelzoo"})


def test_every_package_that_is_imported_is_declared(wheel: Path) -> None:
    """Those whose absence is caught in an extra, the others in the core, or in what huggingface_hub brings; and nothing else is in the core."""
    archive = zipfile.ZipFile(wheel)
    metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    declared = [(m[1].replace("_", "-"), bool(m[2])) for m in re.finditer(r"^Requires-Dist: ([\w-]+)(?:\[\w+\])?[^;\n]*(; extra ==)?", metadata, re.M)]
    core, extras = ({name for name, extra in declared if extra is wanted} for wanted in (False, True))
    found = {pair for path in (ROOT / "skelzoo").rglob("*.py") for pair in imported_packages(path)}
    optional = {name for name, caught in found if caught}
    assert {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in optional} <= extras
    needed = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name, _ in found if name not in optional}
    brought = {re.match(r"[\w-]+", line)[0] for line in requires("huggingface-hub") or () if "extra ==" not in line}  # type: ignore[index]
    assert core <= needed <= core | brought and core == {"torch", "huggingface-hub", "safetensors", "numpy", "einops"}


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for needed in (
        "weights_manifest.json",
        "README.md",
        "LICENSE",
        "LICENSE-CC-BY-NC-4.0.txt",
        "NOTICE",
        "CONTRIBUTING.md",
        "constraints.txt",
        "mkdocs.yml",
        ".ci/run",
        "tests/conftest.py",
        "tools",
        "examples",
    ):
        assert (source / needed).exists(), needed
    assert not list(source.rglob("__pycache__")) and not (source / ".git").exists()
    again = build("wheel", source, tmp_path / "again")
    old, new = (zipfile.ZipFile(w) for w in (wheel, again))
    assert {n: old.read(n) for n in old.namelist()} == {n: new.read(n) for n in new.namelist()}


@pytest.mark.slow
def test_an_editable_install_sees_the_manifest(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv/bin/python")
    install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt"]
    subprocess.run([*install, "--no-deps", "-e", ROOT], check=True)
    subprocess.run([*install, "numpy", "einops"], check=True)
    done = subprocess.run([python, "-c", LOOK], cwd=tmp_path, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected(ROOT)
