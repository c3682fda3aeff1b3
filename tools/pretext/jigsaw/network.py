"""Networks of the jigsaw task: one score per patch and position, or one per permutation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tools.networks.embedding import EmbeddingNetwork, classifier
from tools.utils.errors import check_choice


class PatchPositionClassifier(EmbeddingNetwork):
    """Say of every patch from which cell it comes; an order scores the sum over its places.

    What a patch is compared with is the mean of all patches, whatever their order. The number of permutations costs no
    parameters, and every patch is encoded once for all views.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        permutations: (classes, cells); in place i of an order lies patch ``permutations[k, i]``.
        embedding_dim: channels of a patch embedding.
        hidden: widths of the head's hidden layers.
        dropout: in the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        permutations: torch.Tensor,
        embedding_dim: int = 64,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.head = classifier(2 * embedding_dim, permutations.shape[1], hidden, dropout)
        self.register_buffer("permutations", permutations)

    def forward(self, puzzles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Map patches (B, cells, C, *patch) and orders (B, V, cells) to scores (B, V, classes), float32."""
        patches, orders = puzzles
        embeddings = self.encode(patches)
        together = torch.cat([embeddings, embeddings.mean(1, keepdim=True).expand_as(embeddings)], -1)
        chances = self.head(together).float().log_softmax(-1)
        image = torch.arange(len(embeddings), device=embeddings.device)[:, None, None]
        shown = chances[image, orders]  # (B, V, place, cell)
        places = torch.arange(orders.shape[-1], device=embeddings.device)
        return shown[:, :, places, self.permutations].sum(-1)


class PermutationClassifier(EmbeddingNetwork):
    """Classify the concatenated embeddings of all patches, as the public code of Taleb et al. does.

    Args:
        encoder: see `tools.networks.encoders.Encoder`.
        permutations: (classes, cells).
        embedding_dim: channels of a patch embedding.
        hidden: widths of the head's hidden layers.
        dropout: in the head.
    """

    def __init__(
        self,
        encoder: nn.Module,
        permutations: torch.Tensor,
        embedding_dim: int = 256,
        hidden: Sequence[int] = (2048, 1024),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        classes, cells = permutations.shape
        self.head = classifier(cells * embedding_dim, classes, hidden, dropout)
        self.register_buffer("permutations", permutations)  # class k is permutation k, in every checkpoint

    def forward(self, puzzles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Map patches (B, cells, C, *patch) and orders (B, V, cells) to scores (B, V, classes)."""
        patches, orders = puzzles
        embeddings = self.encode(patches)
        image = torch.arange(len(embeddings), device=embeddings.device)[:, None, None]
        return self.head(embeddings[image, orders].flatten(2))


def jigsaw_network(head: str, **arguments: Any) -> EmbeddingNetwork:
    """Build the network of the jigsaw task by the name of its head.

    Args:
        head: ``positions`` for `PatchPositionClassifier`, ``concatenated`` for `PermutationClassifier`.
        arguments: of that class.

    Raises:
        InputError: for another head.
    """
    networks = {"positions": PatchPositionClassifier, "concatenated": PermutationClassifier}
    return networks[check_choice(head, networks, "head")](**arguments)
