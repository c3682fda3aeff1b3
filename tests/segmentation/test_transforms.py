import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from tools.segmentation.inferer import build_sliding_window_inferer
from tools.segmentation.label_transforms import DecodeLogitsd, MapLabelsd
from tools.segmentation.labels import SoftmaxLabels
from tools.segmentation.metrics import dice_scores
from tools.segmentation.transforms import (
    build_segmentation_crops,
    build_segmentation_postprocessing,
    build_segmentation_preprocessing,
)
from tools.transforms.geometry import CheckedSpacingd
from tools.transforms.hashes import hash_cases
from tools.utils.errors import InputError, find_input_error

LABEL_MANAGER = SoftmaxLabels(["organ", "lesion"])
VALUES = [3, 7]


def ball(size, centre, radius):
    axes = torch.meshgrid(*[torch.arange(n) for n in size], indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) < radius**2


def case(folder, orientation="LPS", spacing=(1.0, 1.5, 2.0), size=(60, 48, 40), shift=0.0, values=VALUES):
    """An organ with a lesion in noise, stored in any orientation."""
    organ, lesion = ball(size, [n / 2 for n in size], 12), ball(size, [n / 2 + 3 for n in size], 6)
    labels = torch.where(lesion, values[1], torch.where(organ, values[0], 0))
    image = labels * 10 + torch.rand(size, generator=torch.Generator().manual_seed(0)) * 20 + 50
    affine = np.diag([*spacing, 1.0])
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(orientation)
    )
    for name, voxels, dtype in (("image", image, np.float32), ("label", labels, np.uint8)):
        own = affine.copy()
        own[0, 3] = shift if name == "label" else 0.0
        stored = nibabel.Nifti1Image(voxels.numpy().astype(dtype), own).as_reoriented(turn)
        nibabel.save(stored, folder / f"{name}.nii.gz")
    return {"case": "a", "image": str(folder / "image.nii.gz"), "label": str(folder / "label.nii.gz")}


def preprocessing(**changes):
    return build_segmentation_preprocessing(
        **{"roi_size": [16, 16, 16], "channels": 1, "spacing": 1.5, "label_values": VALUES, **changes}
    )


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR"])
@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_logits_are_restored_to_the_grid_of_the_file(tmp_path, orientation, spacing):
    """Resampled labels, converted to logits and restored, agree with the file."""
    sample = case(tmp_path, orientation)
    truth = nibabel.load(sample["label"])
    prepared = preprocessing(spacing=spacing)(dict(sample))
    image = preprocessing(spacing=spacing, inference=True)(dict(sample))["image"]
    assert prepared["image"].shape == image.shape
    torch.testing.assert_close(prepared["image"], image.as_tensor())
    scores = LABEL_MANAGER.targets(prepared["label"][None])[0]
    found = build_segmentation_postprocessing(LABEL_MANAGER, VALUES)({"image": image, "pred": scores})["pred"]
    assert tuple(found.shape[1:]) == truth.shape
    np.testing.assert_allclose(found.affine, truth.affine, atol=1e-6)
    assert set(found.unique().tolist()) == {0, *VALUES}
    masks = [
        torch.stack([torch.as_tensor(np.asarray(x)) == v for v in VALUES])[None] for x in (found[0], truth.dataobj)
    ]
    assert dice_scores(*masks).min() > 0.9


@pytest.mark.parametrize("values", [[1024, 255], [-1, 7], [-200, 70000], [256, 3]])
def test_stored_values_may_be_any_integers(values):
    """Written labels are mapped back when the file is read."""
    stored = torch.tensor([0, *values], dtype=torch.float32).reshape(1, 3, 1, 1)
    labels = MapLabelsd("label", values, image_key=None)({"label": stored})["label"]
    assert labels.flatten().tolist() == [0, 1, 2]
    scores = LABEL_MANAGER.targets(labels[None])[0]
    found = DecodeLogitsd("pred", LABEL_MANAGER, values)({"pred": scores})["pred"]
    assert found.flatten().tolist() == [0, *values]
    assert found.element_size() <= (2 if max(values) < 2**15 else 4)


def test_more_than_255_labels():
    label_manager = SoftmaxLabels([str(number) for number in range(300)])
    labels = torch.tensor([0, 255, 256, 300]).reshape(1, 4, 1, 1)
    read = MapLabelsd("label", range(1, 301), image_key=None)({"label": labels.float()})["label"]
    assert torch.equal(read.long(), labels)
    assert torch.equal(
        DecodeLogitsd("pred", label_manager)({"pred": label_manager.targets(read[None])[0]})["pred"].long(), labels
    )


def test_background_values():
    stored = torch.tensor([0.0, 3, 4, 7]).reshape(1, 4, 1, 1)
    with pytest.raises(InputError, match="expected labels among 0, 3, 7, found 0, 3, 4, 7"):
        MapLabelsd("label", VALUES, image_key=None)({"label": stored})
    read = MapLabelsd("label", VALUES, image_key=None, background=[4])({"label": stored})["label"]
    assert read.flatten().tolist() == [0, 1, 0, 2]


def test_voxels_outside_the_preprocessed_region_are_background(tmp_path):
    sample = case(tmp_path)
    image = preprocessing(inference=True)(dict(sample))["image"]
    scores = torch.zeros(3, *image.shape[1:])
    scores[1] = 5
    found = build_segmentation_postprocessing(LABEL_MANAGER)({"image": image[..., 4:-4], "pred": scores[..., 4:-4]})[
        "pred"
    ]
    assert found.any()
    assert not found.all()


def test_preprocessing_adds_no_label_and_preserves_volumes(tmp_path):
    """Nearest-neighbour resampling keeps the volume of a ball within 5 %."""
    sample = preprocessing(spacing=1.2)(case(tmp_path))
    assert sample["label"].unique().tolist() == [0, 1, 2]
    truth = np.asarray(nibabel.load(tmp_path / "label.nii.gz").dataobj)
    assert int((sample["label"] > 0).sum()) * 1.2**3 == pytest.approx((truth > 0).sum() * 3.0, rel=0.05)


def test_crops_are_centred_on_every_label_equally_often(tmp_path):
    sample = preprocessing(spacing=1.0)(case(tmp_path))
    sample.pop("hashes")
    crops = build_segmentation_crops([1, 1, 1], 2, num_samples=900)
    crops.set_random_state(seed=0)
    centres = torch.tensor([int(one["label"]) for one in crops(sample)])
    assert [int((centres == label).sum()) for label in range(3)] == pytest.approx([300] * 3, abs=60)


@pytest.mark.parametrize("slice_axis", [None, 0, 2])
def test_image_and_label_are_cropped_and_flipped_together(tmp_path, slice_axis):
    sample = preprocessing(spacing=1.0)(case(tmp_path))
    sample.pop("hashes")
    roi = [12, 14, 10] if slice_axis is None else [12, 14]
    sample["image"] = sample["label"].float()
    crops = build_segmentation_crops(
        roi, 2, num_samples=6, slice_axis=slice_axis, flip_axes=[0, 1, 2], intensity_aug=0.0
    )
    crops.set_random_state(seed=1)
    for one in crops(sample):
        assert list(one["label"].shape[1:]) == roi
        assert torch.equal(one["image"], one["label"].float())
        assert not any(key.endswith("indices") for key in one), "of unequal length, they would make no batch"


def test_same_seed_same_crops(tmp_path):
    sample = preprocessing()(case(tmp_path))
    made = []
    for seed in (3, 3, 4):
        crops = build_segmentation_crops([16, 16, 16], 2, flip_axes=[0])
        crops.set_random_state(seed=seed)
        made.append(crops(dict(sample))[0]["image"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": 2.0}, "label.nii.gz: expected the grid of its image .*image.nii.gz, found different affines"),
        ({"values": [3, 9]}, "label.nii.gz: expected labels among 0, 3, 7, found 0, 3, 9"),
    ],
)
def test_labels_that_do_not_match_are_named(tmp_path, changes, message):
    with pytest.raises(RuntimeError) as raised:
        preprocessing()(case(tmp_path, **changes))
    found = find_input_error(raised.value)
    assert found is not None
    with pytest.raises(InputError, match=message):
        raise found


def test_a_label_of_another_size_is_named():
    image, label = MetaTensor(torch.zeros(1, 4, 5, 6)), MetaTensor(torch.zeros(1, 4, 5, 7))
    with pytest.raises(InputError, match=r"found \(4, 5, 6\) and \(4, 5, 7\) voxels"):
        MapLabelsd("label", [1])({"image": image, "label": label})


def test_resampling_ignores_keys_with_a_common_prefix():
    """MONAI Label adds strings under such keys, on which MONAI's transform calls `update`."""
    sample = {"image": MetaTensor(torch.rand(1, 4, 4, 4)), "image_path": "somewhere.nii.gz"}
    assert CheckedSpacingd("image", pixdim=[0.5] * 3)(sample)["image_path"] == "somewhere.nii.gz"


def test_hashing_applies_only_the_required_transforms(tmp_path):
    sample = case(tmp_path)
    [hashed] = hash_cases([sample], preprocessing())
    assert hashed == {**sample, "hashes": preprocessing()(dict(sample))["hashes"]}


def test_hashing_names_or_excludes_unreadable_cases(tmp_path):
    good = case(tmp_path)
    bad = {**good, "case": "b", "image": str(tmp_path / "none.nii.gz")}
    with pytest.raises(InputError, match="1 of 2 test cases cannot be used"):
        hash_cases([good, bad], preprocessing())
    assert [one["case"] for one in hash_cases([good, bad], preprocessing(), skip_bad=True)] == ["a"]


def test_inference_preprocessing_does_not_pad(tmp_path):
    """Logits of padded voxels would be mapped to real voxels. The inferer pads and crops."""
    sample = case(tmp_path)
    padded = preprocessing(roi_size=[56, 56, 56])(dict(sample))["image"]
    image = preprocessing(roi_size=[56, 56, 56], inference=True)(dict(sample))["image"]
    assert min(padded.shape[1:]) == 56 > min(image.shape[1:])
    found = build_sliding_window_inferer([56, 56, 56])(image.as_tensor()[None], lambda x: x)
    torch.testing.assert_close(found[0], image.as_tensor(), rtol=1e-4, atol=1e-3)


def test_volume_of_a_single_slice_with_slice_axis(tmp_path):
    sample = case(tmp_path)
    single = nibabel.load(sample["image"]).slicer[:, :, 5:6]
    nibabel.save(single, sample["image"])
    flat = preprocessing(roi_size=[24, 24], slice_axis=2, inference=True)
    assert flat({"image": sample["image"]})["image"].shape[-1] == 1
    with pytest.raises(RuntimeError) as caught:
        preprocessing(inference=True)({"image": sample["image"]})
    assert "at least 2 voxels" in str(find_input_error(caught.value))
