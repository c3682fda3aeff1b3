"""Generated heads, gliomas and abdomens: files, anatomy, contrasts, and no threshold that segments them."""

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tools.data.cases import find_labelled_cases
from tools.data.label_values import brain_tumour_labels, read_labels
from tools.phantoms.brain import T1, brain_phantoms, paint_head, sample_head_points, sample_tissue
from tools.phantoms.brats import Focus, brats_phantoms, displace, grow
from tools.phantoms.canvas import Canvas
from tools.phantoms.pancreas import pancreas_phantoms
from tools.phantoms.scans import sample_grid, to_nifti

SMALL = {
    "brain": (brain_phantoms, {"num_cases": 10, "size": (40, 46, 40), "spacing": 4.8}),
    "brats": (brats_phantoms, {"num_cases": 6, "size": (36, 42, 32), "spacing": 4.6}),
    "pancreas": (pancreas_phantoms, {"num_cases": 6, "size": (54, 44, 38), "spacing": 6.0}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: Path(make(str(tmp_path_factory.mktemp(name) / "set"), **k)) for name, (make, k) in SMALL.items()}


@pytest.fixture(scope="module")
def heads(folders):
    return [nib.load(path) for path in sorted(folders["brain"].glob("*.nii.gz"))]


def pairs(folder):
    for case in find_labelled_cases(folder):
        yield nib.load(case["image"]), nib.load(case["label"])


def arrays(folder):
    for image, label in pairs(folder):
        yield tuple(np.asarray(nib.as_closest_canonical(i).dataobj) for i in (image, label))


def on_common_grid(image):
    data = torch.from_numpy(np.asarray(nib.as_closest_canonical(image).dataobj, dtype=np.float32))
    data = torch.nn.functional.interpolate(data[None, None], (32, 36, 32), mode="trilinear")[0, 0].numpy()
    return (data - data.mean()) / data.std()


def test_heads_differ_as_scans_do(heads):
    _, settings = SMALL["brain"]
    for image in heads:
        assert image.get_data_dtype() == np.int16
        assert np.allclose(image.header.get_zooms(), settings["spacing"], rtol=0.11)
        extent = np.sort(np.array(image.shape) * image.header.get_zooms())
        assert np.allclose(extent, np.sort(settings["size"]) * settings["spacing"], rtol=0.08)
    assert len({nib.aff2axcodes(i.affine) for i in heads}) >= 3
    assert len({i.shape for i in heads}) >= 5
    air = [float((i.get_fdata() == 0).mean()) for i in heads]
    assert min(air) < 0.1 < 0.3 < max(air), "some are masked, some are not"
    brightness = [np.percentile(i.get_fdata(), 99) for i in heads]
    assert max(brightness) > 3 * min(brightness)


def test_no_flip_of_a_head_is_more_similar_than_the_canonical_orientation(heads):
    volumes = np.stack([on_common_grid(image) for image in heads])
    others = [np.delete(volumes, case, axis=0).mean(0) for case in range(len(volumes))]
    flips = [axes for n in range(1, 4) for axes in itertools.combinations(range(3), n)]

    def likeness(axes):
        return np.mean([(np.flip(v, axes) * o).mean() for v, o in zip(volumes, others, strict=True)])

    assert likeness(()) > max(map(likeness, flips)) + 0.02


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
def test_landmarks_of_a_head_after_canonical_load(orientation):
    """Brain stem below, transverse sinus at the back on the right, in any stored orientation."""
    rng = np.random.default_rng(3)
    grid = sample_grid(rng, (40, 46, 40), 4.8)._replace(orientation=orientation)
    contrasts = [T1, *(T1 | {name: (4.0, 0.0)} for name in ("stem", "vein"))]
    volume = torch.zeros(3, *grid.shape)
    paint_head(rng, Canvas(tuple(sample_head_points(rng, grid)), volume, 4.0), sample_tissue(rng, contrasts))
    stored = to_nifti(volume.movedim(0, -1).numpy(), grid)
    assert nib.aff2axcodes(stored.affine) == tuple(orientation)
    image = nib.as_closest_canonical(stored)
    assert np.allclose(image.header.get_zooms()[:3], grid.spacing)
    plain, stem, vein = np.moveaxis(np.asarray(image.dataobj), -1, 0)
    middle = np.argwhere(plain > 0).mean(0)
    stem, vein = (((np.argwhere(marked > 2).mean(0) - middle) / plain.shape) for marked in (stem, vein))
    assert stem[2] < -0.05
    assert vein[0] > 0.03
    assert vein[1] < -0.1


@pytest.mark.parametrize("make", [make for make, _ in SMALL.values()])
def test_three_spacings(make, tmp_path):
    def files(folder, spacing):
        make(str(folder), num_cases=1, size=(24, 24, 12), spacing=spacing)
        return sorted(folder.rglob("*.nii.gz"))

    image = nib.as_closest_canonical(nib.load(files(tmp_path / "three", (8.0, 8.0, 16.0))[0]))
    np.testing.assert_allclose(image.header.get_zooms()[:3], (8, 8, 16), rtol=0.11)
    number, three = files(tmp_path / "number", 8.0), files(tmp_path / "equal", [8, 8, 8])
    assert [path.read_bytes() for path in number] == [path.read_bytes() for path in three]


@pytest.mark.parametrize("name", ["brats", "pancreas"])
def test_laid_out_as_the_decathlon(folders, name):
    content = json.loads((folders[name] / "dataset.json").read_text())
    assert content["numTraining"] == len(content["training"]) == len(list((folders[name] / "imagesTr").iterdir())) == 6
    values = set()
    for image, label in pairs(folders[name]):
        assert image.shape[:3] == label.shape
        np.testing.assert_array_equal(image.affine, label.affine)
        assert (image.get_data_dtype(), label.get_data_dtype()) == (np.int16, np.uint8)
        values |= set(np.unique(label.dataobj).tolist())
    assert values == {int(value) for value in content["labels"]}


def test_label_names_are_those_of_the_tasks(folders):
    assert brain_tumour_labels(folders["brats"]) == {"edema": 1, "core": 2, "enhancing": 3}
    assert read_labels(folders["pancreas"]) == {"pancreas": 1, "cancer": 2}


def best_threshold_dice(image, truth):
    """Best Dice of a structure against everything above, or below, one of many thresholds."""
    best = 0.0
    for threshold in np.percentile(image[image > image.min()], np.arange(2, 99, 4)):
        for prediction in (image > threshold, image < threshold):
            best = max(best, 2 * (prediction & truth).sum() / (prediction.sum() + truth.sum()))
    return best


@pytest.mark.parametrize(("name", "highest"), [("brats", 0.75), ("pancreas", 0.3)])
def test_no_threshold_segments(folders, name, highest):
    scores = [
        max(best_threshold_dice(channel, label > 0) for channel in np.moveaxis(np.atleast_3d(image), 3, 0))
        if image.ndim == 4
        else best_threshold_dice(image, label > 0)
        for image, label in arrays(folders[name])
    ]
    assert np.mean(scores) < highest


def test_mean_brightness_does_not_distinguish_a_tumour(folders):
    """Healthy tissue as bright as the median of a part is at least as common as that part, for most parts."""
    shares = []
    for image, label in arrays(folders["brats"]):
        for part, channel in ((1, 0), (2, 1), (3, 2)):
            if (label == part).sum() > 20:
                low, high = np.percentile(image[label == part][:, channel], (25, 75))
                near = (image[..., channel] >= low) & (image[..., channel] <= high)
                shares.append((near & (label != part)).sum() / (label == part).sum())
    assert np.median(shares) > 0.5


def test_contrasts_show_what_they_should(folders):
    """Relative to healthy brain: oedema bright in FLAIR, an enhancing rim in t1gd and not in T1w; air is zero."""
    gains = {1: [], 3: []}
    for image, label in arrays(folders["brats"]):
        assert (image[0, 0, 0] == 0).all()
        relative = image / image[(label == 0) & (image > 0).all(-1)].mean(0)
        for part, channel in ((1, 0), (3, 2)):
            if (label == part).sum() > 20:
                gains[part].append(relative[label == part][:, channel].mean())
        if (label == 3).sum() > 20:
            rim = relative[label == 3].mean(0)
            assert rim[2] > rim[1] + 0.2
    assert min(gains[1]) > 1.1
    assert min(gains[3]) > 1.2


def test_brains_lie_whole_in_the_middle_of_one_grid(folders):
    affines = [image.affine for image, _ in pairs(folders["brats"])]
    assert all(np.array_equal(affine, affines[0]) for affine in affines)
    for image, _ in arrays(folders["brats"]):
        brain = image.max(-1) > 0
        places = np.argwhere(brain)
        np.testing.assert_allclose((places.min(0) + places.max(0)) / 2, (np.array(brain.shape) - 1) / 2, atol=2)
        assert max(brain.take(face, axis).mean() for axis in range(3) for face in (0, -1)) < 0.03, "cut off"


def test_a_mass_pushes_tissue_outwards_and_its_parts_are_nested_on_one_side():
    grid = torch.stack(torch.meshgrid(*[torch.arange(-70.0, 71.0, 4.0)] * 3, indexing="ij"))
    focus = Focus(np.array([12.0, 0.0, 20.0]), np.full(3, 15.0), 5.0, 10.0)
    centre = torch.tensor([12.0, 0.0, 20.0])[:, None, None, None]
    pushed = displace([focus], grid)
    now, before = (grid - centre).norm(dim=0), (pushed - centre).norm(dim=0)
    assert (before <= now).all()
    assert (now - before)[(now > 10) & (now < 20)].min() > 1
    assert all(pushed[axis].diff(dim=axis).min() > 0 for axis in range(3)), "never folded"
    labels = grow(np.random.default_rng(0), [focus], grid, pushed, torch.ones(grid.shape[1:])).numpy()
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert not labels[pushed[0].numpy() <= 0].any()
    distance = now.numpy()
    assert distance[labels == 2].mean() < distance[labels == 3].mean() < distance[labels == 1].mean()


def test_ct_is_in_hounsfield_units_and_organs_lie_where_they_belong(folders):
    """Liver right, kidneys behind the pancreas, lungs above; the tumour is at the gland and darker on average."""
    darker = []
    for image, label in arrays(folders["pancreas"]):
        corners = [image[i, j, k] for i in (0, -1) for j in (0, -1) for k in (0, -1)]
        assert np.mean(corners) < -950
        assert np.percentile(image, 99.8) > 200, "bone"
        assert 45 < np.median(image[label == 1]) < 115
        assert -130 < np.median(image[(image > -200) & (image < -50)]) < -80, "fat"
        body = np.argwhere(image > -200)
        x, y, _ = (np.argwhere(label > 0).mean(0) - body.mean(0)) / np.ptp(body, axis=0)
        assert abs(x) < 0.2
        assert abs(y) < 0.2
        bright = (image > 90) & (image < 135)  # liver and spleen, the liver is larger
        half = image.shape[0] // 2
        assert bright[half:].sum() > bright[:half].sum()
        gas = (image < -500)[image.shape[0] // 3 : -image.shape[0] // 3, image.shape[1] // 3 : -image.shape[1] // 3]
        assert gas[..., -3:].mean() >= gas[..., :20].mean()
        gland = np.pad(label == 1, 1)
        near = np.any([np.roll(gland, step, axis) for axis in range(3) for step in (-1, 1)], axis=0)
        assert (near[1:-1, 1:-1, 1:-1] & (label == 2)).any()
        darker.append(np.median(image[label == 1]) - np.median(image[label == 2]))
    assert 5 < np.mean(darker) < 45
    assert len({nib.aff2axcodes(image.affine) for image, _ in pairs(folders["pancreas"])}) > 1
