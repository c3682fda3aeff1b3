"""Accuracy of a linear classifier on features (Alain and Bengio, arXiv 1610.01644)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.classification.grading_metrics import confusion_matrix

#: penalty per sample, of features with variance 1: directions that carry less than this share of it are damped
PENALTY = 0.1


def linear_probe(
    features: torch.Tensor, labels: torch.Tensor, test_features: torch.Tensor, test_labels: torch.Tensor, classes: int
) -> float:
    """Balanced accuracy of a ridge classifier: the mean over classes of the share found; guessing earns 1/classes.

    Args:
        features: (N, d) to fit on.
        labels: (N,), from 0 to classes - 1; every class weighs the same, however many samples it has.
        test_features: (M, d) to score on.
        test_labels: (M,), all classes among them.
        classes: number of classes.

    Returns:
        The balanced accuracy; NaN when features are not finite.
    """
    if not (torch.isfinite(features).all() and torch.isfinite(test_features).all()):
        return float("nan")
    weights = 1 / (classes * torch.bincount(labels, minlength=classes).double())[labels]  # their sum is 1
    mean, deviation = _moments(features.double(), weights)
    matrix = ridge(((features.double() - mean) / deviation), labels, weights, classes)
    answers = (((test_features.double() - mean) / deviation) @ matrix).argmax(1)
    counts = confusion_matrix(test_labels, answers, classes).double()
    return float((counts.diagonal() / counts.sum(1)).mean())


def ridge(features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, classes: int) -> torch.Tensor:
    """Weighted ridge regression on one-hot labels, in closed form.

    Args:
        features: (N, d), of weighted mean 0, so that no intercept is needed: with classes of equal weight it is the
            same for all.
        labels: (N,).
        weights: (N,), of sum 1.
        classes: number of classes.

    Returns:
        (d, classes): scores are ``features @ matrix``.
    """
    root = weights.sqrt()[:, None]
    x, y = features * root, F.one_hot(labels, classes).double() * root
    penalty = PENALTY * torch.eye(min(x.shape), dtype=x.dtype, device=x.device)
    if len(x) < x.shape[1]:  # the same matrix from the smaller of two systems of equations
        return x.T @ torch.linalg.solve(x @ x.T + penalty, y)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y)


def _moments(features: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean and standard deviation of every feature; 1 for one that does not vary."""
    mean = weights @ features
    variance = weights @ (features - mean).square()
    return mean, torch.where(variance > 1e-12 * (1 + mean.square()), variance.sqrt(), 1.0)
