"""Pretext task of jigsaw puzzles: the permutation of the shuffled patches.

Noroozi and Favaro, ECCV 2016; in 3D for medical scans by Taleb et al., NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from matplotlib.figure import Figure

from tools.pretext.classification import Classification
from tools.pretext.jigsaw.figure import draw_puzzles
from tools.pretext.jigsaw.permutations import hamming_distances, permutation_set
from tools.pretext.patch_grid import PatchGrid, cut_patches, standardise
from tools.pretext.task import Params
from tools.training.restore import unwrap


class Jigsaw(Classification):
    """Cut all patches of a grid; the target is the permutation, one of a fixed set, by which they are shuffled.

    Patches never touch (`gap`), lie at a random place in their cells (`jitter`) and are standardised one by one. Each
    is encoded once, in raster order; the network then reads the embeddings in the order of each view.

    Args:
        roi_size: edge lengths of the images, in voxels.
        grid: number of cells along each axis, or one number for all.
        gap: smallest distance of neighbouring patches, in voxels.
        jitter: largest random shift of a patch in its cell, in voxels; in validation patches are centred.
        num_permutations: size of the set, which excludes the identity.
        min_hamming_distance: places in which any two permutations differ at least.
        views_per_volume: shuffled views V per image.
        seed: seed of all random parameters.

    Attributes:
        permutations: (num_permutations, cells), int64; in place i of an order lies patch ``permutations[k, i]``.

    Raises:
        InputError: when no set holds as many permutations at that distance, or the patches have no room.
    """

    harder = "more --num_permutations, a smaller --min_hamming_distance, a larger --gap or --jitter"

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
        super().__init__(roi_size, [f"order {k}" for k in range(num_permutations)], views_per_volume, seed)
        self.grid, self.gap, self.jitter = grid, gap, jitter
        self.num_permutations, self.min_hamming_distance = num_permutations, min_hamming_distance
        self.layout = PatchGrid.build(roi_size, grid, jitter, gap=gap)
        self.patch_size = self.layout.patch_size
        self.permutations = permutation_set(self.layout.num_cells, num_permutations, min_hamming_distance)

    def attach(self, engine: Engine) -> None:
        """Follow an engine; its network has the permutation set it was trained with, also if loaded from a file."""
        super().attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, self._take_permutations)

    def _take_permutations(self, engine: Engine) -> None:
        self.permutations = unwrap(engine.network).permutations.cpu()

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw patch corners (B, cells, dims) and labels (B, V) of a global batch."""
        return {
            "corners": self.layout.patch_corners(batch_size, generator if self.training else None),
            "label": self.class_orders(batch_size, generator)[:, : self.views_per_volume],
        }

    def apply(self, images: torch.Tensor, params: Params) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Cut the patches and look up the orders.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Patches (B, cells, C, *patch) in raster order with the orders of the views (B, V, cells), and labels (B, V).
        """
        patches = standardise(cut_patches(images, params["corners"], self.patch_size))
        labels = params["label"].to(images.device, non_blocking=True, copy=True)
        orders = self.permutations[params["label"]].to(images.device, non_blocking=True)
        return (patches, orders), labels

    def statistics(self) -> dict[str, Any]:
        """Smallest, mean and largest Hamming distance of the permutations."""
        distances = hamming_distances(self.permutations)
        return {
            "permutations": len(self.permutations),
            "cells": self.layout.num_cells,
            "smallest Hamming distance": int(distances.min()),
            "mean Hamming distance": round(float(distances.float().mean()), 3),
            "largest Hamming distance": int(distances.max()),
        }

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw the shuffled patches and the predicted order; `prediction` is (B, V, classes)."""
        (patches, orders), labels = self.apply(images, params)
        probabilities = prediction.float().softmax(-1)
        return draw_puzzles(images, patches, labels, orders, probabilities, self.permutations, self.layout)
