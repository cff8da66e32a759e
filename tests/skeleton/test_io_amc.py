"""Acclaim motions: where their skeleton is found, and the units and the root that these files state."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from skelzoo.errors import ClipError, ReadError
from skelzoo.skeleton import io
from skelzoo.skeleton.io import asf_amc


@pytest.mark.needs_shared
def test_asf_is_found_by_stem_prefix_or_alone(shared: Path, tmp_path: Path) -> None:
    raw = shared / "data/raw/cmu_asf"
    (reference,) = io.read(raw / "02_03.amc")
    shutil.copy(raw / "02_03.amc", tmp_path / "02_03.amc")
    with pytest.raises(ReadError, match=r"02_03\.asf, 02\.asf"):
        io.read(tmp_path / "02_03.amc")
    for name in ("person.asf", "02.ASF", "02_03.asf"):
        shutil.copy(raw / "02.asf", tmp_path / name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            np.testing.assert_array_equal(io.read(tmp_path / "02_03.amc")[0].keypoints, reference.keypoints)
        assert ["person.asf: is taken for motions whose names do not fit" in str(w.message) for w in caught] == [True] * (name == "person.asf")
    for name in ("02.ASF", "02_03.asf"):
        (tmp_path / name).unlink()
    shutil.copy(raw / "02.asf", tmp_path / "other.asf")
    with pytest.raises(ReadError, match=r"other\.asf, person\.asf"):
        io.read(tmp_path / "02_03.amc")
    for name in ("other.asf", "person.asf"):
        (tmp_path / name).unlink()


@pytest.mark.parametrize(("amc", "asf", "fits"), [
    ("02_03", "35", False), ("2_3", "02_all", True), ("HDM_bd_squat_001_120", "HDM_mm", False), ("HDM_mm_squat_001_120", "hdm_MM_all", True), ("02_03", "HDM_mm", False),
    ("walk", "HDM_mm", True),
])  # fmt: skip
def test_the_only_asf_is_not_of_another_actor(tmp_path: Path, amc: str, asf: str, fits: bool) -> None:
    (tmp_path / f"{amc}.amc").touch(), (tmp_path / f"{asf}.asf").touch()
    if fits:
        assert asf_amc.find_asf(tmp_path / f"{amc}.amc").stem == asf
        return
    with pytest.raises(ReadError, match=rf"there are {asf}\.asf, none with a fitting name"):
        asf_amc.find_asf(tmp_path / f"{amc}.amc")


@pytest.mark.parametrize(("amc", "beside", "found"), [
    ("2_03", ("02", "35"), "02"), ("02_03", ("2_all", "35", "person"), "2_all"), ("2_03", ("02", "002"), None), ("walk", ("02", "person"), None), ("2_03", ("2", "02"), "2"),
])  # fmt: skip
def test_of_several_the_only_asf_of_the_actor_is_taken(tmp_path: Path, amc: str, beside: tuple[str, ...], found: str | None) -> None:
    for name in beside:
        (tmp_path / f"{name}.asf").touch()
    if found is None:
        with pytest.raises(ReadError, match="none with a fitting name"):
            asf_amc.find_asf(tmp_path / f"{amc}.amc")
    else:
        assert asf_amc.find_asf(tmp_path / f"{amc}.amc").stem == found


@pytest.mark.needs_shared
@pytest.mark.parametrize(
    ("name", "said", "fps"), [("02_03", None, 120), ("02_03", 60, 60), ("HDM_mm_squat_001_60", None, 60), ("HDM_mm_squat_001_60", 120, None)]
)
def test_the_frame_rate_is_told_by_the_name_or_the_caller_or_assumed(shared: Path, tmp_path: Path, name: str, said: float | None, fps: float | None) -> None:
    raw, path = shared / "data/raw/cmu_asf", tmp_path / f"{name}.amc"
    shutil.copy(raw / "02_03.amc", path), shutil.copy(raw / "02.asf", tmp_path / f"{name}.asf")
    if fps is None:
        with pytest.raises(ClipError, match="its file says 60 fps, and you say 120"):
            io.read(path, fps=said)
        return
    (clip,) = io.read(path, fps=said)
    assert clip.fps == fps and ("120 fps assumed" in clip.notes) == (fps == 120)


@pytest.mark.needs_shared
def test_angles_in_radians_are_the_same_motion(shared: Path, tmp_path: Path) -> None:
    """Those of an .amc; the places of its root are no angles."""
    raw = shared / "data/raw/cmu_asf"
    lines = []
    for line in (raw / "02_03.amc").read_text().replace(":DEGREES", ":RADIANS").splitlines():
        name, *numbers = line.split()
        places = 3 if name == "root" else 0
        lines.append(" ".join([name, *numbers[:places], *(repr(float(np.radians(float(n)))) for n in numbers[places:])]) if name[0].isalpha() else line)
    (tmp_path / "02_03.amc").write_text("\n".join(lines))
    shutil.copy(raw / "02.asf", tmp_path)
    (degrees,), (radians,) = io.read(raw / "02_03.amc"), io.read(tmp_path / "02_03.amc")
    np.testing.assert_allclose(radians.keypoints, degrees.keypoints, atol=1e-4)


@pytest.mark.needs_shared
def test_the_place_of_the_root_in_the_skeleton_moves_the_body(shared: Path, tmp_path: Path) -> None:
    raw = shared / "data/raw/cmu_asf"
    shutil.copy(raw / "02_03.amc", tmp_path)
    text = (raw / "02.asf").read_text()
    assert "position 0 0 0" in text
    (tmp_path / "02.asf").write_text(text.replace("position 0 0 0", "position 10 20 30"))
    (here,), (there,) = io.read(raw / "02_03.amc"), io.read(tmp_path / "02_03.amc")
    np.testing.assert_allclose(there.keypoints - here.keypoints, np.broadcast_to(np.array([10, 20, 30]) * 0.0254 / 0.45, here.keypoints.shape), atol=1e-5)
