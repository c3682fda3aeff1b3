import nibabel
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tools.pretext.probe.transforms import build_probe_preprocessing
from tools.transforms.preprocessing import build_preprocessing
from tools.utils.errors import InputError, find_input_error

EDGES = (30, 36, 24)


@pytest.fixture
def write(tmp_path):
    """Writes an image with a bright block and a label map of it, stored back to front, and gives the case."""

    def make(label=None, label_affine=None):
        affine = np.array([[-2.0, 0, 0, 30], [0, 3, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])
        image = np.full(EDGES, 100.0)
        image[4:] += np.random.default_rng(0).random((26, 36, 24))
        image[12:20, 10:24, 6:15] = 400
        truth = (image == 400).astype(np.uint8) if label is None else label
        case = {"case": "one", "image": str(tmp_path / "image.nii.gz"), "label": str(tmp_path / "label.nii.gz")}
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), case["image"])
        nibabel.save(nibabel.Nifti1Image(truth, affine if label_affine is None else label_affine), case["label"])
        return case

    return make


def prepare(roi_size=(16, 16, 16), slice_axis=None, seed=0, spacing=2.0):
    run = build_preprocessing(roi_size, 1, spacing, slice_axis=slice_axis)
    return build_probe_preprocessing(run, roi_size, slice_axis, voxels=50, seed=seed), run


def read_points(sample):
    points = sample["points"]
    grid = points.reshape(1, len(points), *[1] * (points.shape[1] - 1), points.shape[1])
    return F.grid_sample(sample["image"][None], grid, mode="nearest", align_corners=False).flatten()


@pytest.mark.parametrize("options", [{}, {"roi_size": (14, 18), "slice_axis": 1}, {"roi_size": (18, 14, 20)}])
def test_labels_lie_where_the_image_shows_them(write, options):
    """Rotated, resampled and cropped: voxels labelled bright are bright, and both labels have equally many samples."""
    probe, run = prepare(**options)
    case = write()
    for seed in range(4):
        probe, _ = prepare(**options, seed=seed)
        sample = probe(case)
        assert sample["image"].shape == (1, *(options.get("roi_size") or (16, 16, 16)))
        values, labels = read_points(sample), sample["label"]
        assert 0 < (labels == 1).sum() <= 50
        assert 0 < (labels == 0).sum() <= 50
        bright = values > run(case)["image"].max() / 2
        assert (bright == (labels == 1)).float().mean() > 0.9  # the block's surface is blurred where it is resampled


def test_images_are_the_runs_own(write):
    """A crop of the probe is a part of what the run prepares, bit for bit."""
    probe, run = prepare(roi_size=(16, 18, 20))
    case = write()
    crop, whole = probe(case)["image"][0], run(case)["image"][0]
    windows = whole.unfold(0, 16, 1).unfold(1, 18, 1).unfold(2, 20, 1)
    assert (windows == crop).flatten(3).all(-1).any()


def test_what_the_image_is_padded_with_has_no_label(write):
    probe, _ = prepare(roi_size=(32, 32, 32))
    assert set(probe(write(np.ones(EDGES, np.uint8)))["label"].tolist()) == {1}


def test_the_crops_of_a_case_alternate_between_its_labels(write):
    label = np.zeros(EDGES, np.uint8)
    label[13, 12, 7], label[18, 22, 13] = 2, 5  # too far apart for one crop
    probe, _ = prepare(roi_size=(6, 6, 6))
    case = write(label)
    assert [{2, 5} & set(probe(case | {"crop": k})["label"].tolist()) for k in range(4)] in (
        [{2}, {5}] * 2,
        [{5}, {2}] * 2,
    )


def test_draws_follow_from_seed_and_case(write):
    case = write()
    first, again, other = (prepare(seed=seed)[0](case) for seed in (3, 3, 4))
    assert torch.equal(first["points"], again["points"])
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["points"], other["points"])


@pytest.mark.parametrize(
    ("label", "affine", "message"),
    [
        (np.random.default_rng(0).random(EDGES).astype(np.float32), None, "label map of whole numbers from 0"),
        (np.ones((5, 5, 5), np.uint8), None, "expected the grid of its image"),
        (np.ones(EDGES, np.uint8), np.eye(4), "different affines"),
        (np.ones((*EDGES, 2), np.uint8), None, "label map of one channel, found 2"),
    ],
)
def test_bad_labels_are_named(write, label, affine, message):
    with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
        prepare()[0](write(label, affine))
    found = find_input_error(raised.value)
    assert isinstance(found, InputError)
    assert message in str(found)
    assert "label.nii.gz: " in str(found)
    assert "\n" not in str(found)
