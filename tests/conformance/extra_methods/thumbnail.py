"""Rotation and thumbnail: the network classifies the rotation of each view and predicts its thumbnail."""

import torch
import torch.nn.functional as F
from ignite.metrics import Average
from torch import nn

from tools.bundles.config import component
from tools.bundles.pretext import Method, Pretext
from tools.networks.embedding import EmbeddingNetwork, build_mlp
from tools.pretext.accuracy import top1_correct
from tools.pretext.task import PretextTask

EDGE = 4  # of a thumbnail


class RotationAndThumbnail(PretextTask):
    """Rotate each image in the plane of its last two axes; the thumbnail shows the rotated image."""

    chance = 1 / 4
    controls = ("constant", "white noise")

    def __init__(self, roi_size, seed=0):
        super().__init__(roi_size, seed)
        self.patch_size = self.roi_size

    def sample_params(self, batch_size, generator):
        """Numbers of rotations by 90 degrees (B,)."""
        return {"turns": torch.randint(4, (batch_size,), generator=generator)}

    def apply(self, images, params):
        """Rotated images, and their numbers of rotations (B, 1) with thumbnails (B, C, 4, ...)."""
        turns = params["turns"].tolist()
        rotated = torch.stack([image.rot90(k, (-2, -1)) for image, k in zip(images, turns, strict=True)])
        small = _shrink(rotated.float(), EDGE)
        return rotated, (params["turns"].to(images.device)[:, None], small)

    def top1_correct(self, prediction, targets):
        """Whether the rotation is right; the thumbnail has no accuracy."""
        (scores, _), (turns, _) = prediction, targets
        return top1_correct(scores, turns), torch.ones_like(turns, dtype=torch.bool)


def _shrink(images, edge):
    pool = F.adaptive_avg_pool3d if images.ndim == 5 else F.adaptive_avg_pool2d
    return pool(images, edge)


class RotationAndThumbnailNetwork(EmbeddingNetwork):
    """Scores of the rotations, and the thumbnail."""

    def __init__(self, encoder, embedding_dim=32):
        super().__init__(encoder, nn.Linear(encoder.channels[-1], embedding_dim))
        self.shape = (encoder.in_channels, *[EDGE] * encoder.spatial_dims)
        self.rotation = build_mlp(embedding_dim, 4, [], 0.0)
        self.thumbnail = nn.Linear(embedding_dim, encoder.in_channels * EDGE**encoder.spatial_dims)

    def forward(self, images):
        """Map images (B, C, *spatial) to scores (B, 1, 4) and thumbnails (B, C, 4, ...)."""
        embeddings = self.encode(images)
        return self.rotation(embeddings)[:, None], self.thumbnail(embeddings).unflatten(-1, self.shape)


class TwoLosses(nn.Module):
    """Cross-entropy of the rotation and mean squared error of the thumbnail; `parts` holds both for the last batch."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight
        self.parts = {}

    def forward(self, prediction, targets):
        """Weighted sum."""
        (scores, thumbnail), (turns, wanted) = prediction, targets
        rotation = F.cross_entropy(scores[:, 0].float(), turns[:, 0])
        drawing = F.mse_loss(thumbnail.float(), wanted)
        self.parts = {"rotation_loss": rotation.detach(), "thumbnail_loss": drawing.detach()}
        return rotation + self.weight * drawing


class LossParts:
    """Mean of each part of the loss over an epoch, as metrics of the trainer."""

    def __init__(self, loss_function):
        self.loss_function = loss_function

    def attach(self, engine):
        """Record a metric for each part."""
        for name in ("rotation_loss", "thumbnail_loss"):
            Average(lambda _, name=name: self.loss_function.parts[name]).attach(engine, name)


METHOD = Method(
    title="Rotation and thumbnail",
    objective="predicting rotations and thumbnails",
    description="{scan} is rotated, and the network names the rotation and draws a thumbnail",
    accuracy="the fraction of rotations identified among 4",
    references=[],
    keys={"embedding_dim": 32},
    task=component("extra_methods.thumbnail.RotationAndThumbnail", "roi_size"),
    network=component("extra_methods.thumbnail.RotationAndThumbnailNetwork", embedding_dim="@embedding_dim"),
    loss=component("extra_methods.thumbnail.TwoLosses"),
    handlers={"parts": component("extra_methods.thumbnail.LossParts", loss_function="@loss_function")},
)
BUNDLES = [
    Pretext(
        name=f"thumbnail{dims}d",
        method=METHOD,
        spatial_dims=dims,
        keys={"spacing": 2.0, "roi_size": [16] * dims},
        inference_keys={"patch_size": [16] * dims},
    )
    for dims in (2, 3)
]
