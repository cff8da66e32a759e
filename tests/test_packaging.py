"""What is built holds what is needed: wheel, sdist and editable install find the manifest and the data files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import skelzoo
from skelzoo.weights.manifest import manifest

ROOT = Path(__file__).resolve().parents[1]
LOOK = "import skelzoo, json; print(json.dumps([skelzoo.__file__, skelzoo.list_models(), skelzoo.list_layouts(), skelzoo.__version__]))"

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
    assert sources | {"skelzoo/weights_manifest.json"} == {n for n in names if n.startswith("skelzoo/")}
    for needed in ("py.typed", "skeleton/layouts.json", "weights/manifest.schema.json", "learn/pretrain/recipes/skeattnclr-openskel.json"):
        assert f"skelzoo/{needed}" in names
    for name, entry in manifest().models.items():
        for file in entry.weights.files if entry.weights and entry.weights.source == "bundled" else ():
            assert f"skelzoo/weights/bundled/{name}/{file}" in names
    rest = {n.split("/", 1)[1] for n in names if not n.startswith("skelzoo/")}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"} <= rest
    assert all(n.startswith(("skelzoo/", "skelzoo-")) for n in names)


def test_the_wheel_works_away_from_the_sources(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert look(sys.executable, tmp_path / "site", tmp_path) == expected(tmp_path / "site")


def test_the_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    texts = {n.split("/", 1)[1]: archive.read(n).decode() for n in archive.namelist() if n.startswith("skelzoo-")}
    assert f"Version: {skelzoo.__version__}\n" in texts["METADATA"] and "Requires-Python: >=3.10\n" in texts["METADATA"]
    assert "skelzoo = skelzoo.cli:main" in texts["entry_points.txt"]
    core = [line for line in texts["METADATA"].splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert {line.split()[1].split(">")[0].replace("_", "-") for line in core} == {"torch", "huggingface-hub", "safetensors", "numpy", "einops"}


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    for needed in (
        "weights_manifest.json",
        "README.md",
        "LICENSE",
        "NOTICE",
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
