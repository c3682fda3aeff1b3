import itertools

import numpy as np
import pytest
import torch
from monai.transforms import CenterSpatialCrop

from tools.classification.nodule_transforms import (
    LoadNoduled,
    NoduleParams,
    RandNoduled,
    augment_nodule,
    build_nodule_preprocessing,
)
from tools.data.annotated import find_nodules
from tools.data.cache.dataset import CachedDataset
from tools.transforms.hashes import hash_cases
from tools.utils.errors import InputError

STILL = NoduleParams((0, 0, 0), (0, 0, 0), None)
ROI = (12, 12, 12)


def crop(path, size=(20, 21, 22), dtype=np.uint8, name="voxel", low=0, high=256, seed=0):
    voxels = np.random.default_rng(seed).integers(low, high, size).astype(dtype)
    np.savez_compressed(path, **{name: voxels, "answer1": voxels > 100})
    return {"case": path.stem, "image": str(path)}, voxels


def distinct(size=(20, 21, 22)):
    """A volume of distinct voxels."""
    return torch.arange(np.prod(size), dtype=torch.float32).reshape(1, *size)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_crops_are_loaded_unchanged(tmp_path, dtype):
    case, voxels = crop(tmp_path / "lidc1_1.npz", dtype=dtype)
    image = LoadNoduled()(case)["image"]
    assert image.dtype == torch.float32
    np.testing.assert_array_equal(image.numpy()[0], voxels)
    assert torch.equal(image.affine, torch.eye(4, dtype=image.affine.dtype))
    assert image.meta["filename_or_obj"] == case["image"]


@pytest.mark.parametrize("center_crop", [False, True])
@pytest.mark.parametrize("size", [(20, 21, 22), (12, 12, 12), (9, 30, 7)])
def test_preprocessing(tmp_path, size, center_crop):
    case, voxels = crop(tmp_path / "lidc1_1.npz", size)
    sample = build_nodule_preprocessing(ROI, center_crop)(case)
    image = sample["image"]
    padded = tuple(max(have, want) for have, want in zip(size, ROI, strict=True))
    assert tuple(image.shape[1:]) == (ROI if center_crop else padded)
    known = {round((float(v) - 99) / 77, 4) for v in np.unique(voxels)}
    assert {round(float(v), 4) for v in image.unique()} <= known, "no zeros beside the crop"
    assert len(sample["hashes"]) == 1
    if size == (12, 12, 12):
        torch.testing.assert_close(image[0], (torch.from_numpy(voxels).float() - 99) / 77)


def test_training_validation_and_inference_use_the_same_centre(tmp_path):
    case, _ = crop(tmp_path / "lidc1_1.npz")
    whole, middle = (build_nodule_preprocessing(ROI, center_crop)(case) for center_crop in (False, True))
    assert whole["hashes"] == middle["hashes"]
    assert torch.equal(augment_nodule(whole["image"], STILL, ROI), middle["image"])
    shown = build_nodule_preprocessing(ROI, center_crop=True, inference=True)(case)
    assert "hashes" not in shown
    assert shown["image"].meta["filename_or_obj"] == case["image"]
    assert torch.equal(shown["image"].as_tensor(), middle["image"])


def test_medmnist_items_are_prepared_and_hashed(tmp_path):
    rng, arrays = np.random.default_rng(0), {}
    for name, count in (("train", 4), ("val", 2), ("test", 2)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (count, 10, 10, 10), dtype=np.uint8)
        arrays[f"{name}_labels"] = np.arange(count)[:, None] % 2
    np.savez_compressed(tmp_path / "nodulemnist3d.npz", **arrays)
    cases, preprocessing = find_nodules(tmp_path), build_nodule_preprocessing(ROI)
    for cache in ("memory", "disk"):
        dataset = CachedDataset(cases, preprocessing, cache=cache, cache_dir=tmp_path / "cache")
        for case, sample in zip(cases, dataset, strict=True):
            inner = sample["image"][0, 1:11, 1:11, 1:11] * 77 + 99
            expected = arrays[case["array"]][case["index"]]
            np.testing.assert_allclose(inner.numpy(), expected, atol=1e-3)
            assert sample["label"] == case["label"]
    hashes = [one["hashes"][0] for one in hash_cases(cases, preprocessing)]
    assert len(set(hashes)) == len(cases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "data"}, r"lidc1_1\.npz: expected an array 'voxel', found data, answer1"),
        ({"size": (5, 6)}, r"lidc1_1\.npz: expected a volume with 3 dimensions in 'voxel', found size \(5, 6\)"),
        ({"size": (1, 6, 6)}, r"found size \(1, 6, 6\)"),
        ({"low": -1000, "high": 400, "dtype": np.int16}, r"lidc1_1\.npz: expected voxels from 0 to 255, found -"),
        ({"low": 0, "high": 2}, "expected voxels from 0 to 255, found 0 to 1"),
        ({"size": (5, 20, 20)}, "expected at least half of roi_size"),
    ],
)
def test_bad_files_are_named(tmp_path, settings, message):
    case, _ = crop(tmp_path / "lidc1_1.npz", **settings)
    with pytest.raises((InputError, RuntimeError)) as caught:
        build_nodule_preprocessing(ROI)(case)
    cause = caught.value
    while not isinstance(cause, InputError):
        cause = cause.__cause__
    with pytest.raises(InputError, match=message):
        raise cause


def test_nan_is_refused(tmp_path):
    voxels = np.full((20, 20, 20), 9.0)
    voxels[0, 0, 0] = np.nan
    np.savez(tmp_path / "lidc1_1.npz", voxel=voxels)
    with pytest.raises(InputError, match="expected finite voxels, found 1 NaN"):
        LoadNoduled()({"image": str(tmp_path / "lidc1_1.npz")})


def test_rotations_and_flips_keep_all_voxels():
    volume = distinct(ROI)
    for rotations in itertools.product(range(4), repeat=3):
        for flip in (None, 0, 1, 2):
            shown = augment_nodule(volume, NoduleParams((0, 0, 0), rotations, flip), ROI)
            assert shown.shape == volume.shape
            assert torch.equal(shown.flatten().sort().values, volume.flatten())
            assert torch.equal(shown[:, 5:7, 5:7, 5:7].flatten().sort().values, volume[:, 5:7, 5:7, 5:7].flatten())


def test_rotations_are_the_24_of_a_cube_and_flips_their_mirror_images():
    volume = distinct((2, 2, 2))
    views = {
        flipped: {
            tuple(augment_nodule(volume, NoduleParams((0, 0, 0), rotations, flip), (2, 2, 2)).flatten().tolist())
            for rotations in itertools.product(range(4), repeat=3)
            for flip in ((0, 1, 2) if flipped else (None,))
        }
        for flipped in (False, True)
    }
    assert len(views[False]) == len(views[True]) == 24
    assert not views[False] & views[True]


@pytest.mark.parametrize("size", [(20, 21, 22), (23, 24, 25), (12, 13, 40)])
def test_crops_are_near_the_centre(size):
    volume = distinct(size)
    assert torch.equal(augment_nodule(volume, STILL, ROI), CenterSpatialCrop(ROI)(volume))
    for offset in itertools.product((-5, 0, 3, 5), repeat=3):
        shown = augment_nodule(volume, NoduleParams(offset, (0, 0, 0), None), ROI)
        corner = np.unravel_index(int(shown[0, 0, 0, 0]), size)
        for axis in range(3):
            start = size[axis] // 2 - 6 + offset[axis]
            assert corner[axis] == min(max(start, 0), size[axis] - 12), "as far as there is room"


def test_parameters_have_the_documented_distribution():
    change = RandNoduled(roi_size=ROI)
    change.set_random_state(seed=0)
    views = [change.randomize() for _ in range(4000)]
    for axis in range(3):
        offsets, rotations = ([getattr(view, name)[axis] for view in views] for name in ("offset", "rotations"))
        assert set(offsets) == set(range(-5, 6))
        assert np.bincount(np.array(offsets) + 5).min() > 280
        assert np.bincount(rotations, minlength=4).min() > 900
        assert sum(view.flip == axis for view in views) == pytest.approx(1000, abs=110)
    assert sum(view.flip is None for view in views) == pytest.approx(1000, abs=110)


def test_same_seed_gives_the_same_view_and_the_sample_is_unchanged():
    change, image, made = RandNoduled(roi_size=ROI), distinct(), []
    before = image.clone()
    for seed in (1, 1, 2):
        change.set_random_state(seed=seed)
        made.append(change({"image": image, "label": 1})["image"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(image, before)
    assert all(one.shape == (1, *ROI) and one.is_contiguous() for one in made)


@pytest.mark.parametrize("roi_size", [(48, 48, 32), (48, 48)])
def test_rotation_requires_a_cube(roi_size):
    with pytest.raises(InputError, match="roi_size: expected three equal edges"):
        build_nodule_preprocessing(roi_size)
    with pytest.raises(InputError, match="roi_size: expected three equal edges"):
        RandNoduled(roi_size=roi_size)
