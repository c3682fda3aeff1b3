"""Jigsaw puzzles on photographs and slices; see `tools.bundles.collection.jigsaw3d`."""

from tools.bundles.collection.jigsaw3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="jigsaw2d",
    method=METHOD,
    spatial_dims=2,
    keys={"steps_per_epoch": 16, "batch_size": 16, "gap": 2, "min_hamming_distance": 6},
    inference_keys={"patch_size": [27, 27]},
    paper={
        "batch_size": 32,
        "grid": 3,
        "gap": 1,
        "jitter": 8,
        "views_per_volume": 1,
        "head": "concatenated",
        "embedding_dim": 1024,
        "head_channels": [2048, 1024],
        "head_dropout": 0.5,
    },
    results=(0.959, (0.914, 0.99), 0.01),
)
