import pytest
import torch

from tools.segmentation.labels import SoftmaxLabels, build_brats_labels
from tools.segmentation.loss import DiceCELoss

LABEL_MANAGERS = [SoftmaxLabels(["pancreas", "cancer"]), build_brats_labels()]


def labels(label_manager, seed=0, size=(6, 7, 5)):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 1 + len(label_manager.labels), (3, 1, *size), generator=generator)


@pytest.mark.parametrize("label_manager", LABEL_MANAGERS)
def test_loss_decreases_to_zero_for_confident_predictions(label_manager):
    loss, truth = DiceCELoss(label_manager), labels(label_manager)
    sign = 2 * label_manager.targets(truth) - 1
    values = [float(loss(strength * sign, truth)) for strength in (-30, 0, 1, 3, 30)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0, abs=1e-4)
    assert float(loss((30 * sign).half(), truth)) == pytest.approx(0, abs=1e-3)


def test_dice_excludes_the_background():
    """A prediction of only background has a Dice loss of 1, not 1/3."""
    loss = DiceCELoss(SoftmaxLabels(["pancreas", "cancer"]))
    truth = torch.zeros(1, 1, 20, 20, dtype=torch.long)
    truth[..., :2, :2], truth[..., 2:3, :3] = 1, 2
    scores = torch.zeros(1, 3, 20, 20)
    scores[:, 0] = 30
    assert float(loss.dice(scores, loss.label_manager.targets(truth))) == pytest.approx(1, abs=0.01)
