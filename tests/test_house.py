"""The house rules of the project, read from its own files."""

from __future__ import annotations

import ast
import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "skelzoo"
ROOMS = ("skeleton", "nets", "weights", "inference", "loading", "learn", "cli")
"""In the order of the arrows: a room imports from rooms to its left, and from itself. errors is free for all."""

SAME_AS = {"demo": "cli", "bench": "cli", "__main__": "cli", "converting": "loading", "publishing": "loading"}
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 400, 60


def tracked() -> list[Path]:
    """Files that git tracks or would: not those it ignores."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [ROOT / n for n in names.stdout.split("\0") if n and (ROOT / n).is_file()]


def sources(top: Path = ROOT) -> list[Path]:
    folders = [top] if top != ROOT else [ROOT / f for f in ("skelzoo", "tests", "tools", "examples", "docs")]
    return sorted(p for f in folders for p in f.rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full name of every import of skelzoo, also those inside functions and TYPE_CHECKING blocks."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from ((node.lineno, f"{node.module}.{a.name}") for a in node.names)


@functools.cache
def imports_of(path: Path) -> list[tuple[int, str]]:
    return list(imported(tree(path)))


def room_of(name: str) -> str:
    room = name.split(".")[1]
    return SAME_AS.get(room, room)


def wrong_imports(room: str, imports: Iterable[tuple[int, str]]) -> list[str]:
    """Imports that go against the arrows."""
    allowed = ROOMS[: ROOMS.index(room) + 1]
    wrong = []
    for line, name in imports:
        if name == "skelzoo" or not name.startswith("skelzoo."):
            public = name == "skelzoo" and room != "cli"
        else:
            public = room_of(name) not in (*allowed, "errors", "names", "__version__")
        if public:
            wrong.append(f"line {line}: {name}")
    return wrong


@pytest.mark.parametrize(
    "path",
    [p for p in sources(PACKAGE) if p.parent != PACKAGE or p.stem not in ("__init__", "errors", "names")],
    ids=lambda p: p.relative_to(PACKAGE).as_posix(),
)
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert wrong_imports(room, imports_of(path)) == []


def test_the_import_test_sees_what_it_must_see() -> None:
    bad = """
def f():
    from skelzoo.loading import load
    import skelzoo.cli
if TYPE_CHECKING:
    from skelzoo import demo
import skelzoo
"""
    found = wrong_imports("nets", imported(ast.parse(bad)))
    assert [f.split(": ")[1] for f in sorted(found)] == ["skelzoo.loading.load", "skelzoo.cli", "skelzoo.demo", "skelzoo"]
    assert wrong_imports("weights", [(1, "skelzoo.nets.archs.ARCHS"), (2, "skelzoo.errors.ReadError"), (3, "torch")]) == []


def test_only_pretraining_knows_pretraining_within_learn() -> None:
    for path in (PACKAGE / "learn").glob("*.py"):
        assert [n for _, n in imports_of(path) if n.startswith("skelzoo.learn.pretrain")] == [], path


def test_errors_and_the_front_door_import_no_room_when_run() -> None:
    assert [n for file in ("errors.py", "names.py") for _, n in imports_of(PACKAGE / file) if n.startswith("skelzoo")] == []
    for node in tree(PACKAGE / "__init__.py").body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert [n for _, n in imported(ast.Module([node], [])) if n.startswith("skelzoo") and n != "skelzoo.errors"] == []


def test_skeletons_know_no_torch() -> None:
    for path in sources(PACKAGE / "skeleton"):
        assert [n for _, n in imports_of(path) if n.split(".")[0] == "torch"] == [], path


def test_nets_know_no_files() -> None:
    for path in sources(PACKAGE / "nets"):
        roots = {n.split(".")[0] for _, n in imports_of(path)}
        assert not roots & {"os", "pathlib", "json", "io", "safetensors", "huggingface_hub", "tempfile", "urllib"}, path


def test_only_the_hub_file_touches_the_network() -> None:
    for path in sources(PACKAGE):
        roots = {n.split(".")[0] for _, n in imports_of(path)}
        assert path.name == "hub.py" or not roots & {"huggingface_hub", "urllib", "requests", "httpx", "httpx2", "socket", "http"}, path


def test_only_the_errors_file_counts_the_stack_of_a_warning() -> None:
    assert [path for path in sources(PACKAGE) if "warnings.warn(" in path.read_text(encoding="utf-8")] == [PACKAGE / "errors.py"]


def test_nothing_is_unpickled() -> None:
    for path in sources(PACKAGE):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "np.lib.format.read_array"):
                assert path.name in ("author_files.py", "finetune_checkpoint.py"), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and re.search(r"\b(torch|fabric)\.load$", ast.unparse(node.func)):
                assert "weights_only=True" in map(ast.unparse, node.keywords), f"{path}:{node.lineno}"
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{path}:{node.value.lineno}"
        unpicklers = [n for _, n in imports_of(path) if n.split(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve")]
        assert set(unpicklers) <= {"pickle.UnpicklingError"}, path


@pytest.mark.parametrize("path", sources(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_FILE
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [f"{f.name}: {f.end_lineno - f.lineno + 1}" for f in functions if f.end_lineno and f.end_lineno - f.lineno >= LINES_OF_A_FUNCTION] == []


def broad_handlers(module: ast.Module) -> list[int]:
    handlers = [n for n in ast.walk(module) if isinstance(n, ast.ExceptHandler)]
    return [h.lineno for h in handlers if h.type is None or {"Exception", "BaseException"} & {n.id for n in ast.walk(h.type) if isinstance(n, ast.Name)}]


def test_no_except_is_broad() -> None:
    assert broad_handlers(ast.parse("try:\n x\nexcept (OSError, Exception):\n pass\ntry:\n y\nexcept:\n pass\ntry:\n z\nexcept OSError:\n pass")) == [3, 7]
    for path in sources(PACKAGE):
        assert broad_handlers(tree(path)) == [], path


def test_no_paths_of_a_machine_and_no_package_indexes() -> None:
    """Nothing in the repository works on one machine only, or fetches from a place of somebody's own."""
    hosts = [r"\.".join(h) for h in (("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org"), ("anaconda", "com"))]
    paths = [re.escape(f"{p}/") for p in {str(ROOT.parent), str(Path.home()), "/" + "root", "/" + "home"} if len(p) > 1]
    pattern = re.compile(
        "|".join([*hosts, *paths, "file" + "://", "--" + "(extra-)?index-url", "--" + "find-links", "--" + "trusted-host", r"[A-Z]:\\" + "Users"])
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{i}: {line.strip()[:120]}" for i, line in enumerate(text.splitlines(), 1) if pattern.search(line)]
    assert found == []


def test_no_large_files_but_weights() -> None:
    large = [p.relative_to(ROOT).as_posix() for p in tracked() if p.stat().st_size > 500_000]
    assert [p for p in large if not p.startswith("skelzoo/weights/bundled/")] == []


def run(*command: str, code: int = 0) -> str:
    """Output of a command that must end with a code, run beside the sources."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_ruff_finds_nothing() -> None:
    run("-m", "ruff", "check", ".")


def test_ruff_would_format_nothing() -> None:
    run("-m", "ruff", "format", "--check", ".")


TYPED = """
import numpy as np
import skelzoo
import torch
skelzoo.errors.ReadError
encoder = skelzoo.load("skeattnclr-openskel", dtype=torch.float16, compile="max-autotune")
encoder.embed(np.zeros((2, 16, 20, 3)), axes="n t v c")
encoder.features(skelzoo.read("take.bvh"), at=encoder.feature_names)
x = torch.zeros(encoder.contract.shape)[None]
net = skelzoo.create("stgcn", layout="kinect20", num_classes=encoder.net.embedding_dim)
net.forward_head(encoder.net.forward_features(x)).sum()
encoder.net.features(x)["pooled"].sum()
skelzoo.lode
skelzoo.load("skeattnclr-openskel", dtype="bf16", compile=True)
"""


def test_types_are_strict_and_take_what_is_documented_but_not_misspelt_names_and_values(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TYPED)
    printed = run("-m", "mypy", "--strict", "skelzoo", str(tmp_path / "mine.py"), code=1)
    *errors, summary = printed.splitlines()
    misspelt, unknown = (re.sub(r".*mine\.py:", "", e) for e in errors)
    assert misspelt == '13: error: Module has no attribute "lode"  [attr-defined]', printed
    assert unknown.startswith('14: error: Argument "dtype" to "load" has incompatible type "Literal[\'bf16\']"; expected "Literal[\'auto\', \'float32\','), (
        printed
    )
    assert summary.startswith("Found 2 errors in 1 file")


HEAVY = ("torch", "sklearn", "scipy", "matplotlib", "lightning_fabric", "safetensors", "huggingface_hub")


@pytest.mark.parametrize(
    "action",
    [
        "import skelzoo; names = skelzoo.list_models(); [skelzoo.info(n) for n in names]; skelzoo.list_layouts(); skelzoo.coverage('ntu25', 'kinect20')",
        "import skelzoo, numpy; skelzoo.prepare(skelzoo.Clip(numpy.eye(3)[[0, 1] * 10][None].repeat(9, 0), 'kinect20'), skelzoo.Contract('kinect20', 3, 1, 9))",
        "from skelzoo.cli import main; main(['--help'], standalone_mode=False)",
        "from skelzoo.cli import main; main(['list'], standalone_mode=False)",
    ],
)  # fmt: skip
def test_looking_around_imports_nothing_heavy(action: str) -> None:
    printed = run("-c", f"{action}\nimport sys\nprint('LOADED', sorted(set({HEAVY}) & set(sys.modules)))")
    assert printed.strip().splitlines()[-1] == "LOADED []"
