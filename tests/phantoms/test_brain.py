import dataclasses
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tools.phantoms.anatomy import paint_head
from tools.phantoms.brain import brain_phantoms
from tools.phantoms.head import head_coordinates, sample_head
from tools.phantoms.scan import acquire, sample_scan, to_nifti

SMALL = {"size": (40, 46, 40), "spacing": 4.8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return brain_phantoms(str(tmp_path_factory.mktemp("heads") / "brain"), num_cases=10, **SMALL)


@pytest.fixture(scope="module")
def images(folder):
    return [nib.load(path) for path in sorted(Path(folder).glob("*.nii.gz"))]


@pytest.fixture(scope="module")
def upright():
    """Four people, untilted and undeformed, on one grid that is symmetric about the midline."""
    volumes = []
    for case in range(4):
        head = sample_head(np.random.default_rng((5, case)))
        still = {"angles": np.zeros(3), "shift": np.zeros(3), "scale": np.ones(3), "warp": np.zeros_like(head.warp)}
        head = dataclasses.replace(head, **still)
        volumes.append(paint_head(head, head_coordinates(head, (64, 72, 64), (3.0, 3.0, 3.0))).numpy())
    return volumes


def on_common_grid(image):
    data = torch.from_numpy(np.asarray(nib.as_closest_canonical(image).dataobj, dtype=np.float32))
    data = torch.nn.functional.interpolate(data[None, None], (32, 36, 32), mode="trilinear")[0, 0].numpy()
    return (data - data.mean()) / data.std()


def test_files(images):
    assert [Path(i.get_filename()).name for i in images] == [f"head_{n:03d}.nii.gz" for n in range(10)]
    for image in images:
        assert image.get_data_dtype() == np.int16
        assert np.allclose(image.header.get_zooms(), SMALL["spacing"], rtol=0.11)
        extent = np.sort(np.array(image.shape) * image.header.get_zooms())
        assert np.allclose(extent, np.sort(SMALL["size"]) * SMALL["spacing"], rtol=0.08)
        assert np.isfinite(image.get_fdata()).all()
        assert image.get_fdata().std() > 0


def test_cases_differ_as_scans_do(images):
    assert len({nib.aff2axcodes(i.affine) for i in images}) >= 3
    assert len({i.shape for i in images}) >= 5
    air = [float((i.get_fdata() == 0).mean()) for i in images]
    assert min(air) < 0.1 < 0.3 < max(air)
    brightness = [np.percentile(i.get_fdata(), 99) for i in images]
    assert max(brightness) > 3 * min(brightness)


def test_same_seed_same_bytes(folder, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        again = brain_phantoms(str(tmp_path / "again"), num_cases=2, **SMALL)
    finally:
        torch.set_num_threads(threads)
    other = brain_phantoms(str(tmp_path / "other"), num_cases=2, seed=1, **SMALL)
    for name in ("head_000.nii.gz", "head_001.nii.gz"):
        first = (Path(folder) / name).read_bytes()
        assert first == (Path(again) / name).read_bytes()
        assert first != (Path(other) / name).read_bytes()
    assert torch.get_num_threads() == threads


def test_existing_set_is_reused(folder):
    path = Path(folder) / "head_000.nii.gz"
    before = path.stat().st_mtime_ns
    assert brain_phantoms(folder, num_cases=10, **SMALL) == folder
    assert path.stat().st_mtime_ns == before


def test_no_flip_looks_more_alike_than_the_canonical_load(images):
    volumes = np.stack([on_common_grid(image) for image in images])
    others = [np.delete(volumes, case, axis=0).mean(0) for case in range(len(volumes))]
    flips = [axes for n in range(1, 4) for axes in itertools.combinations(range(3), n)]

    def likeness(axes):
        return np.mean([(np.flip(v, axes) * o).mean() for v, o in zip(volumes, others, strict=True)])

    assert likeness(()) > max(map(likeness, flips)) + 0.02


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LAS", "PIR", "ASL"])
def test_landmarks_after_canonical_load(orientation):
    rng = np.random.default_rng(3)
    head = sample_head(rng)
    scan = dataclasses.replace(sample_scan(rng, **SMALL), orientation=orientation, masked=True)
    points = head_coordinates(head, scan.shape, scan.spacing)
    plain = acquire(paint_head(head, points), scan)

    def centre(tissue):
        """Middle of a tissue relative to the middle of the head, as fractions of the grid: right, front, up."""
        painted = paint_head(dataclasses.replace(head, tissue=head.tissue | {tissue: 4.0}), points)
        image = nib.as_closest_canonical(to_nifti(acquire(painted, scan), scan))
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.allclose(image.header.get_zooms(), scan.spacing)
        change = np.asarray(image.dataobj).astype(int) - plain
        where = np.argwhere(change > 1.5 * scan.gain)
        return (where.mean(0) - np.argwhere(plain > 0).mean(0)) / plain.shape

    assert nib.aff2axcodes(to_nifti(plain, scan).affine) == tuple(orientation)
    assert centre("eye")[1] > 0.25
    assert centre("stem")[2] < -0.05
    assert centre("vein")[0] > 0.03  # the transverse sinus is on the right only
    assert centre("vein")[1] < -0.1


def test_left_differs_from_right_and_alike_in_all(upright):
    skews = [volume - volume[::-1] for volume in upright]
    for volume, skew in zip(upright, skews, strict=True):
        assert np.abs(skew[volume > 0]).mean() > 0.08
    for first, second in itertools.combinations(skews, 2):
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.2


def test_air_is_zero_outside_only(upright):
    for volume in upright:
        assert np.isfinite(volume).all()
        assert volume.min() == 0
        assert volume[20:44, 20:44, 20:50].min() > 0
