"""Jigsaw pretext task: classification of the permutation of shuffled patches.

Noroozi and Favaro, ECCV 2016; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure

from tools.pretext.classification import ClassificationTask
from tools.pretext.jigsaw.figure import draw_puzzles
from tools.pretext.jigsaw.permutations import hamming_distances, permutation_set
from tools.pretext.patch_grid import PatchGrid, extract_patches, standardise
from tools.pretext.task import Params
from tools.training.restore import unwrap_model


class Jigsaw(ClassificationTask):
    """Pretext task whose target is the permutation, one of a fixed set, by which the patches of a grid are shuffled.

    Patches are separated by a gap, shifted randomly in their cells (`jitter`) and standardised one by one. The network
    encodes each patch once, in raster order, and permutes the embeddings for each view.

    Args:
        roi_size: edge lengths of the images, in voxels.
        grid: number of cells along each axis, or one number for all.
        gap: smallest distance between neighbouring patches, in voxels.
        jitter: largest random shift of a patch in its cell, in voxels; in validation patches are centred.
        num_permutations: size of the permutation set, which excludes the identity.
        min_hamming_distance: minimum number of positions in which two permutations differ.
        views_per_volume: number of shuffled views V per image.
        seed: seed of all random parameters.

    Attributes:
        permutations: (num_permutations, cells), int64; permutation k puts patch ``permutations[k, i]`` at position i.

    Raises:
        InputError: if too few permutations with this distance are found, or the patches do not fit.
    """

    difficulty_advice = "more --num_permutations, a smaller --min_hamming_distance, a larger --gap or --jitter"

    def __init__(
        self,
        roi_size: Sequence[int],
        grid: int | Sequence[int] = 3,
        gap: int = 1,
        jitter: int = 3,
        num_permutations: int = 100,
        min_hamming_distance: int = 6,
        views_per_volume: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, [f"permutation {k}" for k in range(num_permutations)], views_per_volume, seed)
        self.grid, self.gap, self.jitter = grid, gap, jitter
        self.num_permutations, self.min_hamming_distance = num_permutations, min_hamming_distance
        self.layout = PatchGrid.build(roi_size, grid, jitter, gap=gap)
        self.patch_size = self.layout.patch_size
        self.permutations = permutation_set(self.layout.num_cells, num_permutations, min_hamming_distance)

    def attach(self, engine: Engine) -> None:
        """Attach to the engine; the permutations are taken from its network, which can be loaded from a checkpoint."""
        super().attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._load_permutations)

    def _load_permutations(self, engine: Engine) -> None:
        self.permutations = unwrap_model(engine.network).permutations.cpu()

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw patch corners (B, cells, dims) and labels (B, V) of a global batch."""
        return {
            "corners": self.layout.patch_corners(batch_size, generator if self.training else None),
            "label": self.class_orders(batch_size, generator)[:, : self.views_per_volume],
        }

    def apply(self, images: torch.Tensor, params: Params) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Extract the patches and look up the orders.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Input: patches (B, cells, C, *patch) in raster order and orders (B, V, cells). Target: labels (B, V).
        """
        patches = standardise(extract_patches(images, params["corners"], self.patch_size))
        labels = params["label"].to(images.device, non_blocking=True, copy=True)
        orders = self.permutations[params["label"]].to(images.device, non_blocking=True)
        return (patches, orders), labels

    def statistics(self) -> dict[str, Any]:
        """Return the minimum, mean and maximum Hamming distance of the permutations."""
        distances = hamming_distances(self.permutations)
        return {
            "permutations": len(self.permutations),
            "cells": self.layout.num_cells,
            "smallest Hamming distance": int(distances.min()),
            "mean Hamming distance": round(float(distances.float().mean()), 3),
            "largest Hamming distance": int(distances.max()),
        }

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot the shuffled patches and the predicted permutation; `prediction` is (B, V, classes)."""
        (patches, orders), labels = self.apply(images, params)
        probabilities = prediction.float().softmax(-1)
        return draw_puzzles(images, patches, labels, orders, probabilities, self.permutations, self.layout)
