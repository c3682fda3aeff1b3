"""Masked patches: what was in the parts of the image that are hidden?

Masked autoencoding of He et al., CVPR 2022; for convolutional networks by Tian et al. (SparK), ICLR 2023, and in 3D for
medical scans by Wald et al., CVPR 2025. Here the encoder is dense: what is hidden is filled with the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from monai.utils import ensure_tuple_rep

from tools.pretext.accuracy import top1_correct
from tools.pretext.mae.figure import draw_reconstructions
from tools.pretext.patch_grid import PatchGrid, cut_patches, standardise, varied
from tools.pretext.task import Params, PretextTask
from tools.utils.errors import InputError


class MaskedAutoencoding(PretextTask):
    """Hide most patches of a grid; ask for their voxels.

    The image is standardised by what is left to see alone, so nothing of what is hidden reaches the network. Of every
    hidden patch it is asked which of the image's hidden patches its reconstruction is nearest to: the reconstruction
    answers a question with one right answer, whatever the scale of the voxels. A patch of one value says nothing about
    its place and is neither asked about nor to choose, unless all are such.

    Args:
        roi_size: edge lengths of the images, in voxels; whole patches fit along each axis.
        mask_patch: edge lengths of a patch in voxels, or one number for all.
        mask_ratio: share of the patches that is hidden.
        normalise_targets: standardise every hidden patch before it is asked for (He et al., section 4.1).
        seed: seed of all draws.

    Attributes:
        layout: the grid of the patches.
        num_hidden: patches hidden of each image, always the same number.
        chance: of a choice among all hidden patches.

    Raises:
        InputError: patches do not fit, or fewer than two of them, or all, would be hidden.
    """

    harder = "a larger --mask_ratio or --mask_patch"
    compares_embeddings = False

    def __init__(
        self,
        roi_size: Sequence[int],
        mask_patch: int | Sequence[int] = 8,
        mask_ratio: float = 0.6,
        normalise_targets: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, seed)
        self.mask_patch, self.mask_ratio, self.normalise_targets = mask_patch, mask_ratio, normalise_targets
        edges = ensure_tuple_rep(mask_patch, len(self.roi_size))
        if any(size % edge for size, edge in zip(self.roi_size, edges, strict=True)):
            raise InputError(
                f"roi_size: expected whole patches of {list(edges)} (mask_patch), found {list(self.roi_size)}"
            )
        self.layout = PatchGrid.build(
            self.roi_size, [size // edge for size, edge in zip(self.roi_size, edges, strict=True)]
        )
        self.patch_size = self.roi_size
        cells = self.layout.num_cells
        self.num_hidden = round(mask_ratio * cells)
        if not 2 <= self.num_hidden < cells:
            raise InputError(
                f"mask_ratio: expected to hide 2 to {cells - 1} of the {cells} patches, found {self.num_hidden}"
            )
        self.chance = 1 / self.num_hidden

    def sample(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the hidden cells (B, hidden) of a global batch, in raster order."""
        order = torch.rand(batch_size, self.layout.num_cells, generator=generator).argsort(1)
        return {"hidden": order[:, : self.num_hidden].sort(1).values}

    def apply(self, images: torch.Tensor, params: Params) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Hide patches.

        Args:
            images: (B, C, *roi_size).
            params: from `sample`.

        Returns:
            Standardised images (B, C, *roi_size), 0 where hidden, with the hidden cells (B, hidden), and what was there
            (B, hidden, C, *patch), float32.
        """
        hidden = params["hidden"]
        mean, scale = self._standard(images, hidden)
        there = hidden.to(images.device, non_blocking=True)
        seen = (images - mean).mul_(scale).masked_fill_(self.voxels(there), 0)
        targets = self._cut(images, hidden)
        targets = standardise(targets) if self.normalise_targets else (targets - mean[:, None]) * scale[:, None]
        return (seen.to(images.dtype), there), targets

    def voxels(self, hidden: torch.Tensor) -> torch.Tensor:
        """Say which voxels are hidden with some cells (B, hidden): (B, 1, *roi_size), bool."""
        mask = torch.zeros(len(hidden), self.layout.num_cells, dtype=torch.bool, device=hidden.device)
        mask = mask.scatter(1, hidden, True).reshape(-1, 1, *self.layout.cells)
        for axis, edge in enumerate(self.layout.patch_size, 2):
            mask = mask.repeat_interleave(edge, axis)
        return mask

    def _cut(self, images: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Patches of some cells (B, N): (B, N, C, *patch), float32."""
        return cut_patches(images, self.layout.cell_corners()[cells], self.layout.patch_size).float()

    def _standard(self, images: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and inverse standard deviation of the voxels seen: both (B, C, 1, ...); 0 for a channel of one value."""
        seen = torch.ones(len(hidden), self.layout.num_cells, dtype=torch.bool).scatter(1, hidden, False)
        voxels = self._cut(images, seen.nonzero()[:, 1].reshape(len(hidden), -1)).flatten(3)
        mean = voxels.mean(-1, keepdim=True).mean(1, keepdim=True)  # patch by patch first: in one go half as fast
        deviation = (voxels - mean).square_().mean(-1, keepdim=True).mean(1, keepdim=True).sqrt()
        varying = deviation > 1e-5 * mean.abs()  # not what rounding leaves
        scale = torch.where(varying, 1 / deviation, 0)
        return tuple(figure.reshape(*images.shape[:2], *[1] * len(self.roi_size)) for figure in (mean, scale))

    def credit(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Is each reconstruction nearest to its own patch? Both are (B, hidden, C, *patch)."""
        asked = varied(targets)
        asked = asked | ~asked.any(1, keepdim=True)
        truth = targets.flatten(2)
        scores = 2 * prediction.detach().float().flatten(2) @ truth.mT - truth.square().sum(-1)[:, None]
        scores = torch.where(asked[:, None], scores, scores.amin((1, 2), keepdim=True) - 1)
        own = torch.arange(truth.shape[1], device=truth.device).expand(truth.shape[:2])
        return top1_correct(scores, own), asked

    def preview(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Draw images as seen, reconstructed and whole; `prediction` is (B, hidden, C, *patch).

        Where targets are standardised one by one, mean and deviation of each reconstruction are drawn as the truth's.
        """
        (seen, hidden), targets = self.apply(images, params)
        mean, scale = self._standard(images, params["hidden"])
        whole = (images - mean) * scale
        patches = prediction.float()
        if self.normalise_targets:
            truth = cut_patches(whole, self.layout.cell_corners()[hidden], self.layout.patch_size).flatten(3)
            patches = patches.flatten(3) * truth.std(-1, correction=0, keepdim=True) + truth.mean(-1, keepdim=True)
            patches = patches.reshape(prediction.shape)
        credit, asked = self.credit(prediction, targets)
        return draw_reconstructions(seen, whole, patches, hidden, credit.masked_fill(~asked, -1), self.layout)
