import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose, CropForegroundd, EnsureTyped, Orientationd
from PIL import Image

from tools.data.cache.dataset import CachedDataset
from tools.data.cache.fingerprint import fingerprint
from tools.data.cases import find_images
from tools.data.loader import build_dataset
from tools.transforms.geometry import CheckedSpacingd, PadToRoid
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.intensity import PrepareIntensityd, foreground
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.transforms.window import CheckWindowd
from tools.utils.errors import InputError, find_input_error

RANDOM = np.random.default_rng(4)


def spelt_out(roi_size, hu_window, inference):
    """Preprocessing of volumes at 1.4 mm, transform by transform."""
    return Compose(
        [
            LoadVolumed(keys="image"),
            CheckVolumed(keys="image", channels=1),
            Orientationd(keys="image", axcodes="RAS", labels=None),
            *([] if inference else [HashVoxelsd(keys="image")]),
            CheckedSpacingd(keys="image", pixdim=[1.4] * 3, mode="bilinear"),
            CropForegroundd(keys="image", source_key="image", select_fn=foreground, margin=4, allow_smaller=True),
            *(
                [CheckWindowd(keys="image", window=hu_window, inference=inference, adjustable=not inference)]
                if hu_window
                else []
            ),
            PrepareIntensityd(keys="image", hu_window=hu_window),
            PadToRoid(keys="image", roi_size=roi_size),
            EnsureTyped(keys="image", track_meta=inference),
        ]
    )


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    for number in range(3):
        voxels = RANDOM.normal(size=(30, 26, 28 + number)).astype(np.float32)
        voxels[6:24, 5:20, 4:20] += 20
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.5, -1.2, 2, 1])), folder / f"v{number}.nii.gz")
    return folder


def draw(height, width, content=(0.2, 0.9)):
    """A bright blob on black."""
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = (slice(int(content[0] * n), int(content[1] * n)) for n in (height, width))
    image[rows, columns] = RANDOM.integers(100, 256, image[rows, columns].shape)
    return Image.fromarray(image)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    draw(90, 130).save(folder / "a.png")
    draw(200, 120).save(folder / "b.jpg")
    draw(50, 40).save(folder / "c.bmp")
    return folder


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("hu_window", [None, [-10, 30]])
def test_volumes_are_prepared_as_spelt_out(volumes, inference, hu_window):
    expected = spelt_out([24, 20, 16], hu_window, inference)
    found = build_preprocessing([24, 20, 16], 1, 1.4, hu_window, inference=inference)
    assert fingerprint(found) == fingerprint(expected)
    for case in find_images(volumes, slice_axis=0):
        a, b = found(dict(case)), expected(dict(case))
        assert a.keys() == b.keys()
        assert torch.equal(a["image"], b["image"])
        assert type(a["image"]) is type(b["image"]) is (MetaTensor if inference else torch.Tensor)
        if inference:
            assert torch.equal(a["image"].affine, b["image"].affine)
        else:
            assert a["hashes"] == b["hashes"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_padded_in_their_plane_only(volumes, axis):
    case = find_images(volumes, slice_axis=axis)[0]
    free = build_preprocessing([1, 1], 1, 1.4, slice_axis=axis)(dict(case))["image"]
    roi_size = [edge + 3 for index, edge in enumerate(free.shape[1:]) if index != axis]
    padded = build_preprocessing(roi_size, 1, 1.4, slice_axis=axis)(dict(case))["image"]
    assert padded.shape[1 + axis] == free.shape[1 + axis]
    crop = build_random_crop(roi_size, axis)({"image": padded})["image"]
    assert crop.shape == (1, *roi_size)
    assert fingerprint(build_preprocessing([8, 8], 1, 1.4, slice_axis=axis)) != fingerprint(
        build_preprocessing([8, 8, 8], 1, 1.4)
    )


def test_images_of_any_size_are_resized(images, capsys):
    preprocessing = build_preprocessing([32, 32], 3, resize_shorter_edge=40)
    samples = [preprocessing(case) for case in find_images(images)]
    assert [min(sample["image"].shape[1:]) for sample in samples] == [40, 40, 40]
    assert len({sample["image"].shape for sample in samples}) > 1
    for sample in samples:
        assert type(sample["image"]) is torch.Tensor
        assert len(set(sample["hashes"])) == 3
        assert build_random_crop([32, 32])(sample)["image"].shape == (3, 32, 32)
    assert capsys.readouterr().out == ""


def test_images_are_cropped_to_the_foreground_and_normalised(images):
    case = find_images(images)[0]
    image = build_preprocessing([32, 32], 3)(case)["image"]
    rows, columns = int(0.9 * 90) - int(0.2 * 90), int(0.9 * 130) - int(0.2 * 130)
    assert image.shape == (3, rows + 8, columns + 8)  # a margin of 4
    inside = image[:, 4:-4, 4:-4].flatten(1)
    torch.testing.assert_close(inside.mean(1), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside.std(1), torch.ones(3), atol=1e-2, rtol=0)


def test_inference_keeps_positions_in_the_file(images):
    preprocessing = build_preprocessing([32, 32], 3, resize_shorter_edge=40, inference=True)
    loader = DataLoader(Dataset(find_images(images), preprocessing), batch_size=1)
    for batch in loader:
        assert "hashes" not in batch
        (image,) = batch["image"]
        first = (image.affine @ torch.tensor([-0.5, -0.5, 0, 1], dtype=image.affine.dtype))[:2] + 0.5
        size = Image.open(image.meta["filename_or_obj"]).size[::-1]
        corner = [max(0, int(0.2 * edge) - 4) for edge in size]
        np.testing.assert_allclose(first, corner, atol=1 if image.meta["filename_or_obj"].endswith("jpg") else 1e-6)


def test_small_images(images, capsys):
    case = find_images(images)[2]  # content of 35 x 28 pixels and a margin
    padded = build_preprocessing([64, 64], 3)(case)["image"]
    assert padded.shape == (3, 64, 64)
    assert "c.bmp: (43, 36) pixels are padded by reflection to roi_size (64, 64)" in capsys.readouterr().out
    with pytest.raises(RuntimeError) as error:
        build_preprocessing([96, 96], 3)(case)
    message = str(find_input_error(error.value))
    assert "c.bmp: expected at least half of roi_size (96, 96) pixels, found (43, 36)" in message
    assert "--resize_shorter_edge" in message
    assert build_preprocessing([96, 96], 3, resize_shorter_edge=96)(case)["image"].shape == (3, 115, 96)


def test_grey_images_of_16_bits(tmp_path):
    deep = RANDOM.integers(1000, 60000, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    image = build_preprocessing([32, 32], 1, resize_shorter_edge=32)(find_images(tmp_path)[0])["image"]
    assert image.shape[0] == 1
    assert image.abs().max() < 10


def test_constant_images_become_zero(tmp_path, capsys):
    Image.new("RGB", (50, 40), (7, 8, 9)).save(tmp_path / "a.png")
    sample = build_preprocessing([32, 32], 3, resize_shorter_edge=36)(find_images(tmp_path)[0])
    assert sample["hashes"] == []
    assert not sample["image"].any()
    assert capsys.readouterr().out.count("is constant") == 3


def test_bad_images_are_listed(images, tmp_path):
    for file in images.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "bad.png").write_text("no image")
    Image.new("L", (40, 40)).save(tmp_path / "grey.png")
    cases, preprocessing = find_images(tmp_path), build_preprocessing([32, 32], 3, resize_shorter_edge=40)
    with pytest.raises(InputError, match="2 of 5 training cases") as error:
        CachedDataset(cases, preprocessing)
    assert len(str(error.value).splitlines()) == 3
    assert len(CachedDataset(cases, preprocessing, skip_bad=True)) == 3


def test_disk_cache_and_memory_draw_the_same(images, tmp_path):
    def draws(**options):
        preprocessing, crop = build_preprocessing([32, 32], 3, resize_shorter_edge=40), build_random_crop([32, 32])
        dataset = build_dataset(find_images(images), preprocessing, crop, 3, **options)
        return [dataset[index, 5]["image"] for index in range(3)]

    first = draws()
    for _ in range(2):
        again = draws(cache="disk", cache_dir=tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(list(tmp_path.glob("*.pt"))) == 3


def test_fingerprints_follow_the_settings(images):
    def prints(**settings):
        return fingerprint(
            build_preprocessing(**{"roi_size": [32, 32], "channels": 3, "resize_shorter_edge": 40, **settings})
        )

    used = build_preprocessing((32, 32), 3, resize_shorter_edge=40)
    used(find_images(images)[0])
    others = [
        {"resize_shorter_edge": 41},
        {"channels": 1},
        {"roi_size": [32, 33]},
        {"inference": True},
        {"resize_shorter_edge": None},
    ]
    assert fingerprint(used) == prints()
    assert len({prints(), *(prints(**other) for other in others)}) == 6


def test_spacing_is_one_number_or_three(volumes):
    case = {"image": str(volumes / "v0.nii.gz"), "case": "v0"}
    one, three, other = (
        build_preprocessing([8, 8, 8], 1, spacing, inference=True)(dict(case))["image"]
        for spacing in (2.0, [2, 2, 2], (1, 2, 4.0))
    )
    assert torch.equal(one, three)
    assert [tuple(image.pixdim.tolist()) for image in (three, other)] == [(2, 2, 2), (1, 2, 4)]
    same, different = (fingerprint(build_preprocessing([8, 8, 8], 1, spacing)) for spacing in ([2.0, 2, 2], [2, 2, 3]))
    assert same == fingerprint(build_preprocessing([8, 8, 8], 1, 2.0)) != different


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slice_axis": 3}, "slice_axis: expected None, 0, 1 or 2"),
        ({"slice_axis": "2"}, "slice_axis: expected None, 0, 1 or 2"),
        ({"roi_size": [8, 8, 8], "slice_axis": 2}, r"slice_axis: expected None .*\[8, 8, 8\], found 2"),
        ({"hu_window": [0, 1]}, r"hu_window: expected None for 2D images, found \[0, 1\]"),
        ({"roi_size": [8]}, r"roi_size: expected 2 or 3 numbers, found \[8\]"),
        ({"spacing": None, "slice_axis": 1}, "spacing: expected .* for volumes, found None"),
        ({"spacing": [1.0, 2.0], "slice_axis": 1}, "spacing: expected one number above 0 or three, in mm"),
        ({"spacing": [1.0, 0.0, 2.0], "slice_axis": 1}, "spacing: expected one number above 0 or three, in mm"),
        ({"spacing": [1, 1, 3], "slice_axis": 1, "isotropic": True}, "spacing: expected an isotropic spacing"),
    ],
)
def test_settings_refused(settings, message):
    settings = {"roi_size": [8, 8], "channels": 1, "spacing": 1.0, **settings}
    with pytest.raises(InputError, match=message):
        build_preprocessing(**settings)
    if "_size" in message or "slice" in message:
        with pytest.raises(InputError, match=message):
            build_random_crop(settings["roi_size"], settings.get("slice_axis"))
