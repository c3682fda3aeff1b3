"""Linear probe accuracy: ridge classifier on frozen features (Alain and Bengio, arXiv 1610.01644)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tools.classification.grading_metrics import confusion_matrix

#: ridge penalty per sample for features of variance 1; directions with a smaller variance are damped
RIDGE_PENALTY = 0.1


def linear_probe_accuracy(
    features: torch.Tensor, labels: torch.Tensor, test_features: torch.Tensor, test_labels: torch.Tensor, classes: int
) -> float:
    """Compute the balanced accuracy of a ridge classifier: the mean recall of all classes, 1/classes for guessing.

    Args:
        features: training features, (N, d).
        labels: training labels, (N,), from 0 to classes - 1; all classes have equal total weight.
        test_features: test features, (M, d).
        test_labels: test labels, (M,), with all classes.
        classes: number of classes.

    Returns:
        The balanced accuracy; NaN if features are not finite.
    """
    if not (torch.isfinite(features).all() and torch.isfinite(test_features).all()):
        return float("nan")
    weights = 1 / (classes * torch.bincount(labels, minlength=classes).double())[labels]  # their sum is 1
    mean, deviation = _moments(features.double(), weights)
    matrix = ridge_regression(((features.double() - mean) / deviation), labels, weights, classes)
    predicted = (((test_features.double() - mean) / deviation) @ matrix).argmax(1)
    counts = confusion_matrix(test_labels, predicted, classes).double()
    return float((counts.diagonal() / counts.sum(1)).mean())


def ridge_regression(features: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, classes: int) -> torch.Tensor:
    """Fit a weighted ridge regression on one-hot labels, in closed form.

    Args:
        features: (N, d), with weighted mean 0; no intercept is fitted, since it is equal for classes of equal weight.
        labels: (N,).
        weights: (N,), with sum 1.
        classes: number of classes.

    Returns:
        Matrix (d, classes); the scores are ``features @ matrix``.
    """
    root = weights.sqrt()[:, None]
    x, y = features * root, F.one_hot(labels, classes).double() * root
    penalty = RIDGE_PENALTY * torch.eye(min(x.shape), dtype=x.dtype, device=x.device)
    if len(x) < x.shape[1]:  # the dual form, a smaller system of equations
        return x.T @ torch.linalg.solve(x @ x.T + penalty, y)
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y)


def _moments(features: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted mean and standard deviation of every feature; the latter is 1 for constant features."""
    mean = weights @ features
    variance = weights @ (features - mean).square()
    return mean, torch.where(variance > 1e-12 * (1 + mean.square()), variance.sqrt(), 1.0)
