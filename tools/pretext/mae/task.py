"""Masked autoencoding pretext task: reconstruction of masked patches.

He et al., CVPR 2022; for convolutional networks Tian et al. (SparK), ICLR 2023; in 3D for medical scans Wald et al.,
CVPR 2025. The encoder is dense: masked voxels are replaced by 0, the mean of the visible voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from monai.utils import ensure_tuple_rep

from tools.pretext.accuracy import top1_correct
from tools.pretext.mae.figure import draw_reconstructions
from tools.pretext.patch_grid import PatchGrid, extract_patches, non_constant, standardise
from tools.pretext.task import Params, PretextTask
from tools.utils.errors import InputError


class MaskedAutoencoding(PretextTask):
    """Pretext task whose targets are the voxels of masked patches.

    The image is standardised by the mean and standard deviation of its visible voxels, so the input contains no
    information about the masked voxels. A reconstruction is correct if, of all masked patches of the image, the true
    one is the nearest. Constant patches are excluded, both as targets and as candidates, unless all patches are
    constant. Anonymised voxels are NaN in the targets; their patches are excluded like constant ones.

    Args:
        roi_size: edge lengths of the images, in voxels; a multiple of `mask_patch_size`.
        mask_patch_size: edge lengths of a patch in voxels, or one number for all.
        mask_ratio: fraction of masked patches.
        norm_pix_loss: standardise every target patch (He et al., section 4.1).
        seed: seed of all random parameters.

    Attributes:
        layout: grid of the patches.
        num_masked: number of masked patches per image.
        chance: accuracy of a random choice among the masked patches.

    Raises:
        InputError: if `roi_size` is not a multiple of the patch size, or fewer than two or all patches would be masked.
    """

    controls = ("constant", "white noise")
    difficulty_advice = "a larger --mask_ratio or --mask_patch_size"
    warn_on_collapse = False

    def __init__(
        self,
        roi_size: Sequence[int],
        mask_patch_size: int | Sequence[int] = 8,
        mask_ratio: float = 0.6,
        norm_pix_loss: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(roi_size, seed)
        self.mask_patch_size, self.mask_ratio, self.norm_pix_loss = mask_patch_size, mask_ratio, norm_pix_loss
        edges = ensure_tuple_rep(mask_patch_size, len(self.roi_size))
        if any(size % edge for size, edge in zip(self.roi_size, edges, strict=True)):
            raise InputError(
                f"roi_size: expected multiples of {list(edges)} (mask_patch_size), found {list(self.roi_size)}"
            )
        self.layout = PatchGrid.build(
            self.roi_size, [size // edge for size, edge in zip(self.roi_size, edges, strict=True)]
        )
        cells = self.layout.num_cells
        self.num_masked = round(mask_ratio * cells)
        if not 2 <= self.num_masked < cells:
            raise InputError(
                f"mask_ratio: expected to mask 2 to {cells - 1} of the {cells} patches, found {self.num_masked}"
            )
        self.chance = 1 / self.num_masked

    def sample_params(self, batch_size: int, generator: torch.Generator) -> Params:
        """Draw the masked cells (B, masked) of a global batch, in raster order."""
        order = torch.rand(batch_size, self.layout.num_cells, generator=generator).argsort(1)
        return {"masked": order[:, : self.num_masked].sort(1).values}

    def apply(self, images: torch.Tensor, params: Params) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Mask patches.

        Args:
            images: (B, C, *roi_size).
            params: from `sample_params`.

        Returns:
            Input: standardised images (B, C, *roi_size), 0 where masked, and masked cells (B, masked). Target: masked
            patches (B, masked, C, *patch), float32.
        """
        masked = params["masked"]
        mean, scale = self._visible_statistics(images, masked)
        cells = masked.to(images.device, non_blocking=True)
        visible = (images - mean).mul_(scale).masked_fill_(self.voxel_mask(cells), 0)
        targets = self._extract(images, masked)
        targets = standardise(targets) if self.norm_pix_loss else (targets - mean[:, None]) * scale[:, None]
        return (visible.to(images.dtype), cells), targets

    def make_batch(self, batch: dict[str, Any], step: int) -> tuple[tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
        """See `PretextTask.make_batch`.

        Args:
            batch: as there, and optionally the mask "anonymised" (B, 1, *roi_size), not 0 where voxels are excluded.
            step: the engine's iteration.
        """
        inputs, targets = super().make_batch(batch, step)
        if (anonymised := batch.get("anonymised")) is not None:
            mask = torch.Tensor.as_subclass(anonymised, torch.Tensor).to(targets.device, non_blocking=True)
            targets = targets.masked_fill(self._extract(mask, self.params["masked"]) > 0, torch.nan)
        return inputs, targets

    def voxel_mask(self, masked: torch.Tensor) -> torch.Tensor:
        """Compute the voxel mask (B, 1, *roi_size), bool, of masked cells (B, masked)."""
        mask = torch.zeros(len(masked), self.layout.num_cells, dtype=torch.bool, device=masked.device)
        mask = mask.scatter(1, masked, True).reshape(-1, 1, *self.layout.cells)
        for axis, edge in enumerate(self.layout.patch_size, 2):
            mask = mask.repeat_interleave(edge, axis)
        return mask

    def _extract(self, images: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Extract the patches of cells (B, N): (B, N, C, *patch), float32."""
        return extract_patches(images, self.layout.cell_corners()[cells], self.layout.patch_size).float()

    def _visible_statistics(self, images: torch.Tensor, masked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and inverse deviation of visible voxels, both (B, C, 1, ...); 0 for a constant channel."""
        visible = torch.ones(len(masked), self.layout.num_cells, dtype=torch.bool).scatter(1, masked, False)
        voxels = self._extract(images, visible.nonzero()[:, 1].reshape(len(masked), -1)).flatten(3)
        mean = voxels.mean(-1, keepdim=True).mean(1, keepdim=True)  # twice as fast as a mean over both axes
        deviation = (voxels - mean).square_().mean(-1, keepdim=True).mean(1, keepdim=True).sqrt()
        varying = deviation > 1e-5 * mean.abs()  # excludes rounding residues
        scale = torch.where(varying, 1 / deviation, 0)
        return tuple(value.reshape(*images.shape[:2], *[1] * len(self.roi_size)) for value in (mean, scale))

    def top1_correct(self, prediction: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute whether each reconstruction is nearest to its target; both arguments are (B, masked, C, *patch)."""
        valid = non_constant(targets)
        valid = valid | ~valid.any(1, keepdim=True)
        truth = targets.nan_to_num().flatten(2)
        scores = 2 * prediction.detach().float().flatten(2) @ truth.mT - truth.square().sum(-1)[:, None]
        scores = torch.where(valid[:, None], scores, scores.amin((1, 2), keepdim=True) - 1)
        index = torch.arange(truth.shape[1], device=truth.device).expand(truth.shape[:2])
        return top1_correct(scores, index), valid

    def figure(self, images: torch.Tensor, params: Params, prediction: torch.Tensor) -> Figure:
        """Plot masked, reconstructed and original images; `prediction` is (B, masked, C, *patch).

        With `norm_pix_loss`, each reconstruction is shown with the mean and standard deviation of the true patch.
        """
        (visible, masked), targets = self.apply(images, params)
        mean, scale = self._visible_statistics(images, params["masked"])
        original = (images - mean) * scale
        patches = prediction.float()
        if self.norm_pix_loss:
            truth = extract_patches(original, self.layout.cell_corners()[masked], self.layout.patch_size).flatten(3)
            patches = patches.flatten(3) * truth.std(-1, correction=0, keepdim=True) + truth.mean(-1, keepdim=True)
            patches = patches.reshape(prediction.shape)
        correct, valid = self.top1_correct(prediction, targets)
        return draw_reconstructions(visible, original, patches, masked, correct.masked_fill(~valid, -1), self.layout)
