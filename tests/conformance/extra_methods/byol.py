"""Bootstrap your own latent (Grill et al., NeurIPS 2020): a momentum teacher, and no accuracy."""

import copy

import torch
import torch.nn.functional as F
from ignite.engine import Events
from torch import nn

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext
from tools.networks.embedding import EmbeddingNetwork, build_mlp
from tools.pretext.task import PretextTask


class BYOL(PretextTask):
    """Show two views of each image, flipped and changed in contrast."""

    def __init__(self, roi_size, contrast=0.5, seed=0):
        super().__init__(roi_size, seed)
        self.contrast = contrast
        self.patch_size = self.roi_size

    def sample_params(self, batch_size, generator):
        """Axes flipped (B, 2, dims) and contrast (B, 2)."""
        draw = torch.rand(batch_size, 2, len(self.roi_size) + 1, generator=generator)
        return {"flip": draw[..., 1:] < 0.5, "contrast": 1 + self.contrast * (2 * draw[..., 0] - 1)}

    def apply(self, images, params):
        """Views (B, 2, C, *roi_size), as input and for the teacher."""
        flip, contrast = (params[name].to(images.device) for name in ("flip", "contrast"))
        shape = (len(images), 2, *[1] * (images.ndim - 1))
        views = images[:, None].expand(-1, 2, *images.shape[1:])
        for axis in range(len(self.roi_size)):
            views = torch.where(flip[..., axis].reshape(shape), views.flip(3 + axis), views)
        low = images.amin(tuple(range(2, images.ndim)), keepdim=True)[:, None]
        views = low + (views - low) * contrast.reshape(shape).to(images.dtype)
        return views, views


class BYOLNetwork(EmbeddingNetwork):
    """Encoder, projector and predictor."""

    def __init__(self, encoder, embedding_dim=32, hidden_channels=64):
        super().__init__(encoder, build_mlp(encoder.channels[-1], embedding_dim, [hidden_channels], 0.0))
        self.predictor = build_mlp(embedding_dim, embedding_dim, [hidden_channels], 0.0)

    def forward(self, views):
        """Predictions (B, 2, embedding_dim) of views (B, 2, C, *spatial)."""
        return self.predictor(self.encode(views))


class Teacher:
    """Exponential moving average of a network, updated after every step."""

    def __init__(self, network, momentum=0.9):
        self.network, self.momentum = network, momentum
        self.average = copy.deepcopy(network).requires_grad_(False).eval()

    def attach(self, engine):
        """Attach the initialisation and the update of the averaged weights."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    def _start(self, engine):
        if engine.state.epoch == 0:
            self.average.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def _update(self, engine):
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1 - self.momentum)

    @torch.no_grad()
    def __call__(self, views):
        """Embeddings (B, 2, embedding_dim)."""
        return self.average.encode(views)

    def state_dict(self):
        """Return the averaged weights."""
        return self.average.state_dict()

    def load_state_dict(self, state):
        """Load saved weights."""
        self.average.load_state_dict(state)


class BYOLLoss(nn.Module):
    """Distance of each prediction from the teacher's embedding of the other view."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher

    def forward(self, predictions, views):
        """Mean over the batch."""
        wanted = self.teacher(views).flip(1)
        return (2 - 2 * F.cosine_similarity(predictions.float(), wanted.float(), dim=-1)).mean()


METHOD = Method(
    title="Bootstrap your own latent",
    objective="predicting a teacher's embeddings",
    description="from one view of {scan}, the network predicts a teacher's embedding of another",
    references=["Grill, J.-B. et al. Bootstrap Your Own Latent. NeurIPS 2020."],
    keys={"contrast": 0.5, "embedding_dim": 32, "teacher_momentum": 0.9},
    new_keys=(
        Key("contrast", kinds.BELOW_1, "maximum deviation of the contrast factor from 1"),
        Key("teacher_momentum", kinds.BELOW_1, "momentum of the teacher's moving average"),
    ),
    task=component("extra_methods.byol.BYOL", "roi_size", "contrast"),
    network=component("extra_methods.byol.BYOLNetwork", embedding_dim="@embedding_dim"),
    handlers={
        "teacher": component("extra_methods.byol.Teacher", network="@prepared_network", momentum="@teacher_momentum")
    },
    loss=component("extra_methods.byol.BYOLLoss", teacher="@train#method_handlers#teacher"),
)
BUNDLES = [
    Pretext(
        name=f"byol{dims}d",
        method=METHOD,
        spatial_dims=dims,
        keys={"spacing": 2.0, "roi_size": [16] * dims},
        inference_keys={"patch_size": [16] * dims},
    )
    for dims in (2, 3)
]
