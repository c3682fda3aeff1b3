"""Network of contrastive predictive coding: patch embeddings, causal context and predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.layers.factories import Conv
from torch import nn

from tools.networks.embedding import EmbeddingNetwork
from tools.utils.distributed import gather


class CausalContext(nn.Module):
    """Causal convolution over the grid, whose receptive field is a pyramid that widens by one cell per row back.

    At the borders, the sum is divided by the number of existing cells (partial convolution, Liu et al., ECCV 2018), so
    padding has no effect.

    Args:
        spatial_dims: dimensions of the grid, rows first.
        embedding_dim: channels of the embeddings.
        context_dim: channels of the contexts.
        rows: number of rows of the receptive field: the row of the cell (its column only) and ``rows - 1`` rows behind.
    """

    def __init__(self, spatial_dims: int, embedding_dim: int, context_dim: int, rows: int = 2) -> None:
        super().__init__()
        width = 2 * rows - 1
        self.rows = rows
        self.conv = Conv[Conv.CONV, spatial_dims](
            embedding_dim, context_dim, (rows, *[width] * (spatial_dims - 1)), bias=False
        )
        self.norm = nn.LayerNorm(context_dim)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(context_dim, context_dim))

    def pyramid(self) -> torch.Tensor:
        """Return the kernel mask (1, 1, rows, width, ...), 1 in the pyramid; the last row is the row of the cell."""
        weight, dims = self.conv.weight, self.conv.weight.ndim - 2
        back = torch.arange(self.rows - 1, -1, -1, device=weight.device).reshape(-1, *[1] * (dims - 1))
        aside = torch.arange(1 - self.rows, self.rows, device=weight.device).abs()
        mask = torch.ones(weight.shape[2:], dtype=torch.bool, device=weight.device)
        for axis in range(1, dims):
            mask = mask & (aside.reshape(-1, *[1] * (dims - 1 - axis)) <= back)
        return mask[None, None].to(weight.dtype)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Map embeddings (B, channels, rows, *columns) to contexts (B, rows, *columns, context channels)."""
        dims, side, pyramid = embeddings.ndim - 2, self.rows - 1, self.pyramid()
        pad = [side, side] * (dims - 1) + [side, 0]
        conv = F.conv3d if dims == 3 else F.conv2d
        total = conv(F.pad(embeddings, pad), self.conv.weight * pyramid)
        count = conv(F.pad(torch.ones_like(embeddings[:1, :1]), pad), pyramid.to(embeddings.dtype))
        return self.mix(self.norm((total / count).movedim(1, -1)))


class CPCNetwork(EmbeddingNetwork):
    """Network that predicts the embeddings of the rows ahead from the context of each cell.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        embedding_dim: channels of a patch embedding.
        context_dim: channels of a context.
        context_rows: number of rows of a context, including its own.
        steps: numbers of rows ahead that are predicted, each by a separate linear layer.
        temperature: divides the cosine similarity of prediction and embedding.
    """

    def __init__(
        self,
        encoder: nn.Module,
        embedding_dim: int = 256,
        context_dim: int = 256,
        context_rows: int = 2,
        steps: Sequence[int] = (1, 2),
        temperature: float = 0.05,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.steps = tuple(steps)
        self.temperature = temperature
        self.context = CausalContext(encoder.spatial_dims, embedding_dim, context_dim, context_rows)
        self.predict = nn.ModuleList(nn.Linear(context_dim, embedding_dim) for _ in self.steps)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Compute the similarity of every prediction with every patch of the global batch.

        Args:
            patches: (B, rows, *columns, C, *patch).

        Returns:
            Similarity (B, Q, world size · B · cells), float32; predictions in the order of `tools.pretext.cpc.CPC`.
        """
        embeddings = self.encode(patches)
        contexts = self.context(embeddings.movedim(-1, 1))
        predictions = torch.cat(
            [head(contexts[:, :-step]).flatten(1, -2) for step, head in zip(self.steps, self.predict, strict=True)], 1
        )
        with torch.autocast(embeddings.device.type, enabled=False):
            candidates = gather(F.normalize(embeddings.float(), dim=-1).flatten(0, -2))
            return F.normalize(predictions.float(), dim=-1) @ candidates.T / self.temperature
