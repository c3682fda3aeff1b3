"""Exemplar training on photographs and slices; see `tools.bundles.collection.exemplar3d`."""

from tools.bundles.collection.exemplar3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="exemplar2d",
    method=METHOD,
    spatial_dims=2,
    keys={"batch_size": 16},
    inference_keys={"patch_size": [96, 96]},
    paper={"batch_size": 16, "embedding_dim": 1024},
    results=(0.992, (0.988, 0.996), 0.5),
)
