"""The demo: four made-up motions, what a model says of them, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skelzoo.errors import MissingDependencyError
from skelzoo.inference.output import check_output
from skelzoo.inference.screen import table
from skelzoo.learn.cameras import as_read
from skelzoo.loading import load
from skelzoo.skeleton import procedural
from skelzoo.skeleton.clip import Clip
from skelzoo.skeleton.writing import whole_file

PICTURE, PICTURE_SUFFIXES = "skelzoo_demo.png", (".png", ".svg", ".pdf")
SEEDS = 6
"""Performances of each motion."""

COLORS = ("#33658a", "#c8553d", "#5b8e55", "#8a5a83")
INK, SOFT, FAINT = "#2b2b2b", "#8c8c8c", "#e4e4e4"
FRAMES, STEP = 6, 1.25
"""Poses in a strip, and metres between them."""

VIEWS = {"wave": 18.0}
"""How far the view is turned from the front to the subject's right, degrees; 58 where not said."""


@dataclass(frozen=True)
class DemoRow:
    """What the model says of one motion.

    Attributes:
        motion: its name.
        labels, scores: the three likeliest classes of its first performance.
        norm: length of that performance's vector.
        nearest: the other motion whose vectors are most alike.
        similarity: mean cosine similarity between the two motions' performances, -1 to 1, after the mean of all vectors
            is taken off.
        own_similarity: the same among the motion's own performances.
    """

    motion: str
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    norm: float
    nearest: str
    similarity: float
    own_similarity: float


@dataclass(frozen=True, eq=False)
class DemoResult:
    """Result of ``run_demo``.

    Attributes:
        model: name of the model.
        rows: one per motion.
        matched: performances whose nearest neighbour among all others (by that cosine) is of the same motion, and how many there are.
        cosines: (motions, motions) mean cosine similarity of their performances, none with itself.
        picture: the file written, or None where matplotlib is not installed and none was named.
    """

    model: str
    rows: tuple[DemoRow, ...]
    cosines: NDArray[np.float64]
    matched: tuple[int, int]
    picture: Path | None

    def __str__(self) -> str:
        header = ["motion", "class 1", "class 2", "class 3", "nearest other", "cosine*", "own cosine*"]
        rows = [
            [
                r.motion,
                *(f"{n} {s:.2f}" for n, s in zip(r.labels, r.scores, strict=True)),
                *[""] * (3 - len(r.labels)),
                r.nearest,
                f"{r.similarity:.2f}",
                f"{r.own_similarity:.2f}",
            ]
            for r in self.rows
        ]
        found = f"{self.matched[0]} of {self.matched[1]} performances have one of the same motion as nearest neighbour"
        note = "* mean over performances, after the mean of all vectors is taken off"
        picture = self.picture or 'none, as it needs matplotlib: pip install "skelzoo[viz]"'
        return f"{self.model} on made-up motions\n{table(header, rows)}\n{note}\n{found}\npicture: {picture}"


def run_demo(model: str = "skeattnclr-openskel", picture: str | Path | None = None, device: str = "auto") -> DemoResult:
    """Make motions, embed and classify them, and draw poses, classes and vectors.

    Args:
        model: as ``skelzoo.load`` takes it; it needs a classification head and joints that ``kinect20`` gives; motions are filmed for COCO's.
        picture: .png, .svg or .pdf, written whole or not at all; by default ``PICTURE`` where matplotlib is installed.
        device: as ``skelzoo.load`` takes it.

    Raises:
        MissingDependencyError: a picture was named, and matplotlib is not installed.
        WriteError: the picture cannot be written.
        SkelzooError: the model cannot be loaded, or does not take the motions.
    """
    target = _target(picture)
    encoder = load(model, device=device)
    names = list(procedural.motions())
    clips = [procedural.make(name, seed=seed) for name in names for seed in range(SEEDS)]
    seen = [as_read(clip, encoder.contract, seed) for seed, clip in enumerate(clips)]
    result = encoder.classify(seen[::SEEDS], top_k=3, progress=False)
    vectors = encoder.embed(seen, progress=False).astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    # Vectors of pooled positive features all point nearly the same way; what tells motions apart is how they differ from the mean.
    centred = vectors - vectors.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1), 1e-12)[:, None]
    similar, matched = _similarities(unit)
    rows = []
    for i, name in enumerate(names):
        others = np.where(np.arange(len(names)) == i, -np.inf, similar[i])
        j = int(others.argmax())
        labels, scores = tuple(str(n) for n in result.labels[i]), tuple(float(s) for s in result.scores[i])
        rows.append(DemoRow(name, labels, scores, float(norms[i * SEEDS]), names[j], float(similar[i, j]), float(similar[i, i])))
    demo = DemoResult(encoder.name, tuple(rows), similar, (matched, len(clips)), target)
    if target is not None:
        with whole_file(target) as file:
            _draw(demo, clips[::SEEDS], unit).savefig(file, format=target.suffix[1:].lower(), dpi=160)
    return demo


def _target(picture: str | Path | None) -> Path | None:
    """Where to draw; nowhere when it is left open and matplotlib is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        if picture is None:
            return None
        raise MissingDependencyError("matplotlib", "viz", "the demo picture") from error
    return check_output(picture or PICTURE, PICTURE_SUFFIXES)


def _similarities(unit: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Mean cosine similarity between motions (each performance with itself left out), and how many nearest neighbours match."""
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, np.nan)
    count = len(unit) // SEEDS
    means = np.nanmean(cosine.reshape(count, SEEDS, count, SEEDS), axis=(1, 3))
    motion = np.arange(len(unit)) // SEEDS
    nearest = np.where(np.isnan(cosine), -np.inf, cosine).argmax(1)
    return means, int((motion[nearest] == motion).sum())


def _draw(demo: DemoResult, clips: Sequence[Clip], unit: NDArray[np.float64]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7.6), facecolor="white")
    FigureCanvasAgg(figure)
    left = figure.add_gridspec(len(clips), 2, width_ratios=(5.4, 2.5), left=0.08, right=0.69, top=0.88, bottom=0.07, wspace=0.1, hspace=0.14)
    right = figure.add_gridspec(2, 1, left=0.75, right=0.975, top=0.855, bottom=0.085, hspace=0.42)
    figure.text(0.025, 0.95, demo.model, size=17, weight="bold", color=INK, va="center")
    figure.text(0.025, 0.912, "motions made by formula; right limbs in full colour, left limbs pale", size=10, color=SOFT, va="center")
    for i, (clip, row) in enumerate(zip(clips, demo.rows, strict=True)):
        _draw_strip(figure.add_subplot(left[i, 0]), clip, COLORS[i], last=i == len(clips) - 1)
        _draw_bars(figure.add_subplot(left[i, 1]), row, COLORS[i])
    _draw_map(figure.add_subplot(right[0]), demo, unit)
    _draw_cosines(figure.add_subplot(right[1]), demo)
    return figure


def _draw_strip(axes: Any, clip: Clip, color: str, last: bool) -> None:
    """Poses side by side, seen from the subject's right front, the hips of each at its place."""
    layout, turn = clip.layout, np.radians(VIEWS.get(str(clip.label), 58.0))
    side = {joint: part for part, joints in layout.parts.items() for joint in joints}
    styles = {"left": (color, 0.38, 1), "right": (color, 1.0, 3), "trunk": (INK, 0.85, 2)}
    times = np.linspace(0, clip.frames - 1, FRAMES).round().astype(int)
    for k, frame in enumerate(times):
        pose = clip.keypoints[0, frame]
        across = (pose[:, 0] - pose[0, 0]) * np.cos(turn) + (pose[:, 2] - pose[0, 2]) * np.sin(turn) + k * STEP
        for joint, parent in enumerate(layout.parents):
            shade, alpha, order = styles[side[layout.joints[joint]].partition("_")[0]]
            if parent >= 0:
                axes.plot(across[[joint, parent]], pose[[joint, parent], 1], color=shade, alpha=alpha, zorder=order, lw=2.2, solid_capstyle="round")
        head = layout.index("Head")
        axes.plot(across[head], pose[head, 1], "o", color=INK, alpha=0.85, ms=6.5, zorder=2)
        if last:
            axes.text(k * STEP, -0.13, f"{frame / (clip.fps or 30):.1f} s", size=8.5, color=SOFT, ha="center", va="top")
    axes.axhline(0, color=FAINT, lw=1, zorder=0)
    axes.set(xlim=(-0.75, (FRAMES - 1) * STEP + 0.75), ylim=(-0.06, 1.85), aspect="equal")
    axes.set_axis_off()
    axes.text(-0.015, 0.5, clip.label, size=12.5, weight="bold", color=color, ha="right", va="center", transform=axes.transAxes)


def _draw_bars(axes: Any, row: DemoRow, color: str) -> None:
    for k, (label, score) in enumerate(zip(row.labels, row.scores, strict=True)):
        axes.barh(k, 1, height=0.2, color=FAINT)
        axes.barh(k, score, height=0.2, color=color, alpha=1.0 if k == 0 else 0.55)
        text = label if len(label) <= 30 else label[:29] + "…"
        axes.text(0, k - 0.2, text, size=9, color=INK, va="bottom", weight="bold" if k == 0 else "normal")
        axes.text(1, k - 0.2, f"{score:.2f}", size=9.5, color=INK if k == 0 else SOFT, va="bottom", ha="right")
    axes.set(xlim=(0, 1), ylim=(2.45, -0.85))
    axes.set_axis_off()


def _draw_map(axes: Any, demo: DemoResult, unit: NDArray[np.float64]) -> None:
    """The two main directions of all unit vectors, one point per performance."""
    points, spread, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    points = points[:, :2] * spread[:2]
    share = spread**2 / max(float((spread**2).sum()), 1e-12)
    for i, row in enumerate(demo.rows):
        own = points[i * SEEDS : (i + 1) * SEEDS]
        axes.scatter(own[:, 0], own[:, 1], s=52, color=COLORS[i], edgecolor="white", lw=0.8, zorder=3, label=row.motion)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.18)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(f"first direction, {share[0]:.0%} of the spread", size=9, color=SOFT)
    axes.set_ylabel(f"second, {share[1]:.0%}", size=9, color=SOFT)
    axes.set_title(
        f"vectors of {SEEDS} performances each; {demo.matched[0]} of {demo.matched[1]}\nhave their own kind as nearest neighbour",
        size=9.5,
        color=INK,
        loc="left",
        pad=20,
    )
    for i, row in enumerate(demo.rows):
        axes.text(i / len(demo.rows), 1.02, row.motion, size=9, weight="bold", color=COLORS[i], transform=axes.transAxes)
    for spine in axes.spines.values():
        spine.set_color(FAINT)


def _draw_cosines(axes: Any, demo: DemoResult) -> None:
    names = [row.motion for row in demo.rows]
    axes.imshow(demo.cosines, cmap="Greys", vmin=-1, vmax=4, aspect="auto")
    for i, j in np.ndindex(*demo.cosines.shape):
        axes.text(j, i, f"{demo.cosines[i, j]:.2f}", size=10, color=INK, ha="center", va="center", weight="bold" if i == j else "normal")
    axes.set_xticks(range(len(names)), names, size=9)
    axes.set_yticks(range(len(names)), names, size=9)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        for text, color in zip(labels, COLORS, strict=False):
            text.set(color=color, weight="bold")
    axes.tick_params(length=0)
    axes.set_title("mean cosine of centred vectors", size=9.5, color=INK, loc="left")
    for spine in axes.spines.values():
        spine.set_visible(False)
