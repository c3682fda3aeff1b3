import pytest
import torch
from monai.inferers import SlidingWindowInferer

from tools.segmentation.inferer import build_sliding_window_inferer


@pytest.mark.parametrize("size", [(40, 9, 33), (7, 40, 5), (33, 2, 1), (1, 1, 1)])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_images_smaller_than_the_window_are_padded(axis, size):
    """The logits of a network of single voxels equal the image for every image size."""
    roi_size = [32] * (3 if axis is None else 2)
    seen = []

    def network(windows):
        seen.append(tuple(windows.shape[2:]))
        return torch.cat([windows, -windows], 1)

    image = torch.rand(2, 1, *size)
    scores = build_sliding_window_inferer(roi_size, axis)(image, network)
    assert set(seen) == {tuple(roi_size)}
    torch.testing.assert_close(scores, torch.cat([image, -image], 1), rtol=1e-4, atol=1e-4)


def test_padding_by_one_reflection_equals_monai():
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 5, padding=2)
    image = torch.rand(1, 1, 12, 40, 15)
    monai = SlidingWindowInferer([32] * 3, sw_batch_size=4, overlap=0.25, mode="gaussian", padding_mode="reflect")
    with torch.no_grad():
        torch.testing.assert_close(build_sliding_window_inferer([32] * 3)(image, network), monai(image, network))


@pytest.mark.parametrize(("size", "warned"), [((40, 16, 16), False), ((40, 40, 15), True)])
def test_images_that_training_refuses_give_a_warning(capsys, size, warned):
    build_sliding_window_inferer([32] * 3)(torch.rand(1, 1, *size), lambda windows: windows)
    assert (str(size) in capsys.readouterr().out) == warned
