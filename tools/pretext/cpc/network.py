"""The network of contrastive predictive coding: patch codes, causal context, predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import nn

from tools.networks.embedding import EmbeddingNetwork
from tools.utils.distributed import gather


class CausalContext(nn.Module):
    """Context of every grid cell from the cells at and behind it: a pyramid that widens by one cell per row back.

    A convolution over the grid whose kernel is masked to the pyramid. At the borders only existing cells count: the
    sum is divided by their number (partial convolution, Liu et al., ECCV 2018), so no padding value enters.

    Args:
        spatial_dims: dimensions of the grid, rows first.
        code_channels: channels of the codes.
        context_channels: channels of the contexts.
        rows: rows seen: the cell's own (its column only) and ``rows - 1`` behind it.
    """

    def __init__(self, spatial_dims: int, code_channels: int, context_channels: int, rows: int = 2) -> None:
        super().__init__()
        width = 2 * rows - 1
        self.rows = rows
        self.conv = Conv[Conv.CONV, spatial_dims](
            code_channels, context_channels, (rows, *[width] * (spatial_dims - 1)), bias=False
        )
        self.norm = nn.LayerNorm(context_channels)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(context_channels, context_channels))

    def pyramid(self) -> torch.Tensor:
        """Mask (1, 1, rows, width, ...): 1 where the cell is in the pyramid; the last row is the cell's own."""
        weight, dims = self.conv.weight, self.conv.weight.ndim - 2
        back = torch.arange(self.rows - 1, -1, -1, device=weight.device).reshape(-1, *[1] * (dims - 1))
        aside = torch.arange(1 - self.rows, self.rows, device=weight.device).abs()
        mask = torch.ones(weight.shape[2:], dtype=torch.bool, device=weight.device)
        for axis in range(1, dims):
            mask = mask & (aside.reshape(-1, *[1] * (dims - 1 - axis)) <= back)
        return mask[None, None].to(weight.dtype)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Map codes (B, channels, rows, *columns) to contexts (B, rows, *columns, context channels)."""
        dims, side, pyramid = codes.ndim - 2, self.rows - 1, self.pyramid()
        pad = [side, side] * (dims - 1) + [side, 0]
        conv = F.conv3d if dims == 3 else F.conv2d
        total = conv(F.pad(codes, pad), self.conv.weight * pyramid)
        count = conv(F.pad(torch.ones_like(codes[:1, :1]), pad), pyramid.to(codes.dtype))
        return self.mix(self.norm((total / count).movedim(1, -1)))


class CPCNetwork(EmbeddingNetwork):
    """Encode every patch once, sum up what lies behind each cell, predict the codes ahead.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        code_channels: channels of a patch code.
        context_channels: channels of a context.
        context_rows: rows a context sees, its own included.
        steps: rows ahead that are predicted, each by a linear map of its own.
        temperature: divides the cosine similarity of prediction and code.
    """

    def __init__(
        self,
        encoder: nn.Module,
        code_channels: int = 256,
        context_channels: int = 256,
        context_rows: int = 2,
        steps: Sequence[int] = (1, 2),
        temperature: float = 0.05,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], code_channels))
        self.steps = tuple(steps)
        self.temperature = temperature
        self.context = CausalContext(encoder.spatial_dims, code_channels, context_channels, context_rows)
        self.predict = nn.ModuleList(nn.Linear(context_channels, code_channels) for _ in self.steps)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Score every patch of the global batch for every question.

        Args:
            patches: (B, rows, *columns, C, *patch).

        Returns:
            Similarity (B, Q, world size · B · cells), float32; questions as `tools.pretext.cpc.CPC` orders them.
        """
        codes = self.encode(patches)
        contexts = self.context(codes.movedim(-1, 1))
        predictions = torch.cat(
            [head(contexts[:, :-step]).flatten(1, -2) for step, head in zip(self.steps, self.predict, strict=True)], 1
        )
        with torch.autocast(codes.device.type, enabled=False):
            everyone = gather(F.normalize(codes.float(), dim=-1).flatten(0, -2))
            return F.normalize(predictions.float(), dim=-1) @ everyone.T / self.temperature
