import pytest
import torch

from tools.pretext.mae.figure import paste_patches
from tools.pretext.mae.task import MaskedAutoencoding
from tools.utils.errors import InputError

#: roi, patch, mask ratio
SHAPES = pytest.mark.parametrize(
    ("size", "patch", "ratio"), [((12, 8, 16), 4, 0.6), ((12, 8, 16), (3, 4, 8), 0.75), ((24, 16), 4, 0.5)]
)
NORMALISED = pytest.mark.parametrize("normalised", [True, False])


def images_of(task, batch=3, channels=2):
    return 5 + 3 * torch.randn(batch, channels, *task.roi_size, generator=torch.Generator().manual_seed(1))


def make(task, batch=3, step=1):
    images, params = images_of(task, batch), task.draw_params(batch, step)
    (seen, masked), targets = task.apply(images, params)
    return images, params, seen, masked, targets


@SHAPES
def test_exactly_as_many_patches_are_hidden_everywhere(size, patch, ratio):
    task = MaskedAutoencoding(size, patch, ratio)
    _, params, seen, masked, targets = make(task)
    cells = task.layout.num_cells
    assert task.num_masked == round(ratio * cells) == masked.shape[1] == targets.shape[1]
    assert all(len(row.unique()) == task.num_masked for row in masked)
    mask = task.voxel_mask(params["masked"])
    assert (mask.flatten(1).float().mean(1) == task.num_masked / cells).all()
    assert torch.equal(seen == 0, mask.expand_as(seen))
    assert task.chance == 1 / task.num_masked


def test_all_cells_are_masked_equally_often():
    task = MaskedAutoencoding((16, 16), 4, 0.5)
    counts = torch.bincount(
        task.sample_params(4000, torch.Generator().manual_seed(0))["masked"].flatten(), minlength=16
    )
    assert ((counts - 2000).abs() < 4 * 1000**0.5).all()


@SHAPES
@NORMALISED
def test_what_is_hidden_cannot_reach_the_input(size, patch, ratio, normalised):
    task = MaskedAutoencoding(size, patch, ratio, normalised)
    images, params, seen, _, targets = make(task)
    mask = task.voxel_mask(params["masked"])
    for value in (1e6, torch.nan, torch.randn(images.shape)):
        (again, _), other = task.apply(torch.where(mask, value, images), params)
        assert torch.equal(again, seen)
        assert not torch.equal(other, targets)


@SHAPES
def test_what_is_seen_is_standardised_and_in_its_place(size, patch, ratio):
    task = MaskedAutoencoding(size, patch, ratio)
    images, params, seen, _, _ = make(task)
    mask = task.voxel_mask(params["masked"])[:, 0]
    for b in range(len(images)):
        for image, shown in zip(images[b], seen[b], strict=True):
            image, shown = image[~mask[b]], shown[~mask[b]]
            torch.testing.assert_close(shown, (image - image.mean()) / image.std(correction=0))


@SHAPES
def test_targets_recover_the_image(size, patch, ratio):
    """Patches pasted into their cells equal the image except for brightness and contrast."""
    task = MaskedAutoencoding(size, patch, ratio, norm_pix_loss=False)
    images, _, seen, masked, targets = make(task)
    for b in range(len(images)):
        whole = paste_patches(seen[b], targets[b], masked[b], task.layout)
        for found, image in zip(whole, images[b], strict=True):
            pairs = torch.stack([found.flatten(), image.flatten()])
            assert torch.corrcoef(pairs)[0, 1] == pytest.approx(1, abs=1e-5)


@SHAPES
def test_normalised_targets_are_the_patches_standardised_one_by_one(size, patch, ratio):
    plain, normalised = (make(MaskedAutoencoding(size, patch, ratio, one))[-1].flatten(3) for one in (False, True))
    expected = (plain - plain.mean(-1, keepdim=True)) / plain.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(normalised, expected, rtol=1e-4, atol=1e-4)


def test_brightness_and_contrast_change_nothing():
    task = MaskedAutoencoding((16, 24), 4)
    images, params, seen, _, targets = make(task)
    (again, _), others = task.apply(40 * images - 300, params)
    torch.testing.assert_close(again, seen, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(others, targets, rtol=1e-4, atol=1e-4)


@SHAPES
@NORMALISED
def test_a_perfect_reconstruction_has_full_credit_and_noise_none(size, patch, ratio, normalised):
    task = MaskedAutoencoding(size, patch, ratio, normalised)
    targets = make(task, batch=60)[-1]
    assert (task.accuracy(targets, targets) == 1).all()
    noise = torch.randn(targets.shape, generator=torch.Generator().manual_seed(2))
    found = task.accuracy(noise, targets)
    assert abs(found.mean() - task.chance) < 4 * found.std() / 60**0.5


@NORMALISED
def test_constant_predictions_have_chance_accuracy(normalised):
    task = MaskedAutoencoding((16, 24), 4, 0.5, normalised)
    targets = make(task)[-1]
    for value in (0.0, torch.randn(targets.shape[2:])):
        assert task.accuracy(torch.zeros_like(targets) + value, targets).tolist() == pytest.approx([task.chance] * 3)


def test_a_reconstruction_must_be_nearest_to_its_own_place():
    task = MaskedAutoencoding((16, 24), 4, 0.5)
    targets = make(task)[-1]
    assert (task.accuracy(targets.roll(1, 1), targets) == 0).all()


def test_equal_patches_are_ties():
    task = MaskedAutoencoding((16, 16), 4, 0.5)
    targets = make(task)[-1]
    targets[:, 1] = targets[:, 0]
    correct, _ = task.top1_correct(targets, targets)
    assert correct.tolist() == [[0.5, 0.5, *[1.0] * 6]] * 3


@NORMALISED
def test_constant_patches_are_neither_targets_nor_candidates(normalised):
    task = MaskedAutoencoding((16, 16), 4, 0.5, normalised)
    images, params = images_of(task), task.draw_params(3, 1)
    images[0, :, :8] = 7
    images[1] = 7
    _, targets = task.apply(images, params)
    corners = task.layout.cell_corners()[params["masked"]]
    correct, found = task.top1_correct(torch.zeros_like(targets), targets)
    assert torch.equal(found[0], corners[0, :, 0] >= 8)
    assert found[1:].all()
    assert (correct * found).sum(1).tolist() == pytest.approx([1, 1, 1])


def test_the_loss_only_depends_on_masked_voxels():
    """Of a given reconstruction: other voxels in what is seen leave every target as it was."""
    task = MaskedAutoencoding((16, 16), 4, 0.5, norm_pix_loss=True)
    images, params, _, _, targets = make(task)
    mask = task.voxel_mask(params["masked"])
    _, others = task.apply(torch.where(mask, images, torch.randn(images.shape)), params)
    assert torch.equal(others, targets)
    assert targets.shape[1] == mask[0].sum() / 4**2


def test_validation_has_constant_parameters():
    task = MaskedAutoencoding((16, 16), 4)
    first, again = task.validation(), task.validation()
    assert torch.equal(first.draw_params(3, 2)["masked"], again.draw_params(3, 2)["masked"])
    assert not torch.equal(first.draw_params(3, 2)["masked"], task.draw_params(3, 2)["masked"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_patch_size": 5}, r"roi_size: .* found \[16, 16\]"),
        ({"mask_patch_size": 8, "mask_ratio": 0.3}, "mask_ratio: expected to mask 2 to 3 of the 4 patches, found 1"),
        ({"mask_patch_size": 8, "mask_ratio": 0.99}, "found 4"),
        ({"mask_patch_size": 32}, "mask_patch_size"),
    ],
)
def test_masks_that_cannot_be_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        MaskedAutoencoding((16, 16), **arguments)


@NORMALISED
@pytest.mark.parametrize("size", [(8, 12, 16), (16, 24)])
def test_figures_show_reconstructions_in_the_units_of_the_image(size, normalised, monkeypatch):
    """A perfect prediction is drawn like the target."""
    drawn = {}
    monkeypatch.setattr(
        "tools.pretext.mae.task.draw_reconstructions",
        lambda seen, truth, patches, masked, correct, layout: drawn.update(
            truth=truth,
            whole=torch.stack([paste_patches(*one, layout) for one in zip(seen, patches, masked, strict=True)]),
        ),
    )
    task = MaskedAutoencoding(size, 4, 0.6, normalised)
    images, params, _, _, targets = make(task)
    task.figure(images, params, targets)
    torch.testing.assert_close(drawn["whole"], drawn["truth"], rtol=1e-3, atol=1e-3)


def test_nearest_is_by_distance_not_by_size():
    """Dim patches are found next to bright ones."""
    task = MaskedAutoencoding((16, 16), 4, 0.5, False)
    scale = torch.logspace(-0.5, 0.5, task.num_masked)[:, None, None, None]
    targets = torch.randn(3, task.num_masked, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * scale
    correct, valid = task.top1_correct(targets, targets)
    assert valid.all()
    assert (correct == 1).all()
    assert task.top1_correct(targets.flip(1), targets)[0].sum() == 0
