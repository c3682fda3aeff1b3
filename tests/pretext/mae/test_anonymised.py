"""Anonymised voxels are excluded from the loss of masked autoencoding."""

import nibabel
import numpy as np
import pytest
import torch

from tools.pretext.mae import MaskedAutoencoding, ReconstructionLoss, reconstruction_loss
from tools.transforms.preprocessing import build_preprocessing, build_random_crop
from tools.utils.errors import find_input_error

SIZE = (16, 16, 16)
RANDOM = np.random.default_rng(0)


def batch_of(images, **more):
    return {"image": images, "case": [str(number) for number in range(len(images))], **more}


def images_and_mask():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(3, 1, *SIZE)
    mask[:, :, :, :5] = 1
    return torch.randn(3, 2, *SIZE, generator=generator), mask


def test_anonymised_voxels_do_not_change_the_loss():
    task = MaskedAutoencoding(SIZE, 8, 0.6, norm_pix_loss=False)
    images, mask = images_and_mask()
    (_, cells), targets = task.make_batch(batch_of(images, anonymised=mask.byte()), 1)
    assert 0 < targets.isnan().float().mean() < 1
    prediction = torch.zeros_like(targets, requires_grad=True)
    loss = ReconstructionLoss()(prediction, targets)
    torch.testing.assert_close(loss, targets[~targets.isnan()].square().mean())
    loss.backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[targets.isnan()] == 0).all()
    hidden = task.voxel_mask(cells)
    changed = torch.where((mask > 0) & hidden, 99.0, images)
    other = task.make_batch(batch_of(changed, anonymised=mask), 1)[1]
    assert torch.equal(other.nan_to_num(), targets.nan_to_num())


def test_without_anonymised_voxels_the_loss_is_the_mean_squared_error():
    task = MaskedAutoencoding(SIZE, 8, 0.6)
    images, mask = images_and_mask()
    _, targets = task.make_batch(batch_of(images), 1)
    assert torch.equal(task.make_batch(batch_of(images, anonymised=0 * mask), 1)[1], targets)
    prediction = torch.randn(targets.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ReconstructionLoss()(prediction, targets), reconstruction_loss()(prediction, targets))


@pytest.mark.parametrize("part", [0.3, 1.0])
def test_the_accuracy_of_anonymised_images_is_finite(part):
    task = MaskedAutoencoding(SIZE, 8, 0.6)
    images, mask = images_and_mask()
    mask[..., : int(part * SIZE[-1])] = 1
    _, targets = task.make_batch(batch_of(images, anonymised=mask), 1)
    accuracy = task.accuracy(targets.nan_to_num(), targets)
    assert accuracy.isfinite().all()


def write(path, voxels, spacing=(2.0, 2.0, 3.0)):
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-spacing[0], *spacing[1:], 1.0])), path)
    return str(path)


def test_mask_and_image_are_prepared_and_cropped_alike(tmp_path):
    """The image is 1000 where it is anonymised, so that both agree after every transform."""
    mask = np.zeros((30, 34, 20), np.uint8)
    mask[18:, 20:, 8:] = 1
    image = (RANDOM.random(mask.shape) * 100 + 1000.0 * mask).astype(np.float32)
    case = {"case": "a", "image": write(tmp_path / "a.nii.gz", image), "anon_mask": write(tmp_path / "m.nii.gz", mask)}
    transform = build_preprocessing(SIZE, 1, spacing=[2.0, 2.0, 3.0], anonymised=True)
    sample = transform(case)
    assert sample["anonymised"].dtype == torch.uint8
    assert sample["anonymised"].shape == sample["image"].shape
    crop = build_random_crop(SIZE)
    crop.set_random_state(seed=0)
    for found in (sample, crop(sample)):
        assert torch.equal(found["image"] > found["image"].mean() + found["image"].std(), found["anonymised"] > 0)
        assert found["anonymised"].any()
    case.pop("anon_mask")
    assert not transform(case)["anonymised"].any()


def test_a_mask_on_another_grid_is_refused(tmp_path):
    image = RANDOM.random((20, 20, 20)).astype(np.float32)
    case = {"case": "a", "image": write(tmp_path / "a.nii.gz", image)}
    transform = build_preprocessing(SIZE, 1, spacing=2.0, anonymised=True)
    case["anon_mask"] = str(tmp_path / "mask.nii.gz")
    for edge, spacing, found in ((18, 3, "voxels"), (20, 2, "different affines")):
        write(tmp_path / "mask.nii.gz", np.zeros((20, 20, edge), np.uint8), (2, 2, spacing))
        assert f"mask.nii.gz: expected a mask with one channel on the grid of its scan, {found}" in failure(
            transform, case
        )
    (tmp_path / "mask.nii.gz").unlink()
    assert "mask.nii.gz: expected a readable volume" in failure(transform, case)


def failure(transform, case):
    with pytest.raises(RuntimeError) as caught:
        transform(case)
    return (
        str(find_input_error(caught.value)).replace("found (20, 20, 20) and (20, 20, 18) ", "").replace("found d", "d")
    )
