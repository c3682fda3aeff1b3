import pytest
import torch

from tools.transforms.intensity import PrepareIntensityd, foreground


@pytest.mark.parametrize("value", [0.0, 0.1, 73.4684, -1000.3])
def test_a_constant_image_is_foreground_throughout_and_prepared_to_zeros(value):
    image = torch.full((2, 17, 19, 23), value)
    assert foreground(image).all()
    prepared = PrepareIntensityd("image")({"image": image})["image"]
    assert (prepared == 0).all()


def test_foreground_is_the_head_not_the_air():
    image = torch.rand(1, 20, 20, 20)
    image[:, 5:15, 5:15, 5:15] += 10
    assert torch.equal(foreground(image), image > 5)


def test_scores_per_channel_over_non_zero_voxels():
    image = torch.rand(2, 8, 8, 8) * torch.tensor([1.0, 100])[:, None, None, None] + 1
    image[:, :2] = 0
    prepared = PrepareIntensityd("image")({"image": image.clone()})["image"]
    assert (prepared[:, :2] == 0).all()
    inside = prepared[:, 2:].flatten(1)
    torch.testing.assert_close(inside.mean(1), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside.std(1), torch.ones(2), atol=1e-2, rtol=0)


def test_hounsfield_window():
    image = torch.tensor([-2000.0, -1000, 0, 1000, 3000]).reshape(1, 5, 1, 1)
    prepared = PrepareIntensityd("image", hu_window=[-1000, 1000])({"image": image})["image"]
    assert prepared.flatten().tolist() == [-1, -1, 0, 1, 1]
