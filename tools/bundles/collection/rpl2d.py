"""Relative patch location on photographs and slices; see `tools.bundles.collection.rpl3d`."""

from tools.bundles.collection.rpl3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="rpl2d",
    method=METHOD,
    spatial_dims=2,
    substitutions={"directions": "8"},
    keys={"steps_per_epoch": 24, "batch_size": 16, "gap": 2, "views_per_volume": 8},
    inference_keys={"patch_size": [27, 27]},
    paper={
        "batch_size": 32,
        "grid": 3,
        "gap": 1,
        "jitter": 8,
        "views_per_volume": 1,
        "embedding_dim": 1024,
        "head_channels": [2048, 1024],
        "head_dropout": 0.5,
    },
    results=(0.636, (0.577, 0.694), 0.125),
)
