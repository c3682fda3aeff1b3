"""Networks of the jigsaw task: classification of patch positions, or of permutations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, build_mlp
from tools.utils.errors import check_choice


class PatchPositionClassifier(EmbeddingNetwork):
    """Classifier of the original cell of each patch; the score of a permutation is the sum over its positions.

    The head's input is the embedding of a patch and the mean embedding of all patches, which does not depend on their
    order. The number of parameters does not depend on the number of permutations, and every patch is encoded once for
    all views.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        permutations: (classes, cells); permutation k puts patch ``permutations[k, i]`` at position i.
        embedding_dim: channels of a patch embedding.
        hidden_channels: widths of the head's hidden layers.
        dropout: dropout probability of the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        permutations: torch.Tensor,
        embedding_dim: int = 64,
        hidden_channels: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.head = build_mlp(2 * embedding_dim, permutations.shape[1], hidden_channels, dropout)
        self.register_buffer("permutations", permutations)

    def forward(self, puzzles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Compute scores (B, V, classes), float32, of patches (B, cells, C, *patch) and orders (B, V, cells)."""
        patches, orders = puzzles
        embeddings = self.encode(patches)
        inputs = torch.cat([embeddings, embeddings.mean(1, keepdim=True).expand_as(embeddings)], -1)
        log_probabilities = self.head(inputs).float().log_softmax(-1)
        image = torch.arange(len(embeddings), device=embeddings.device)[:, None, None]
        shuffled = log_probabilities[image, orders]  # (B, V, position, cell)
        positions = torch.arange(orders.shape[-1], device=embeddings.device)
        return shuffled[:, :, positions, self.permutations].sum(-1)


class PermutationClassifier(EmbeddingNetwork):
    """Classifier of the concatenated embeddings of all patches, as in the public code of Taleb et al.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        permutations: (classes, cells).
        embedding_dim: channels of a patch embedding.
        hidden_channels: widths of the head's hidden layers.
        dropout: dropout probability of the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        permutations: torch.Tensor,
        embedding_dim: int = 256,
        hidden_channels: Sequence[int] = (2048, 1024),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        classes, cells = permutations.shape
        self.head = build_mlp(cells * embedding_dim, classes, hidden_channels, dropout)
        self.register_buffer("permutations", permutations)  # class k is permutation k of the checkpoint

    def forward(self, puzzles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Compute scores (B, V, classes) of patches (B, cells, C, *patch) and orders (B, V, cells)."""
        patches, orders = puzzles
        embeddings = self.encode(patches)
        image = torch.arange(len(embeddings), device=embeddings.device)[:, None, None]
        return self.head(embeddings[image, orders].flatten(2))


def jigsaw_network(head: str, **arguments: Any) -> EmbeddingNetwork:
    """Build the network of the jigsaw task by the name of its head.

    Args:
        head: ``positions`` for `PatchPositionClassifier`, ``concatenated`` for `PermutationClassifier`.
        arguments: arguments of that class.

    Raises:
        InputError: if `head` is unknown.
    """
    networks = {"positions": PatchPositionClassifier, "concatenated": PermutationClassifier}
    return networks[check_choice(head, networks, "head")](**arguments)
