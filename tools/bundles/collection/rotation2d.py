"""Rotation prediction on photographs and slices; see `tools.bundles.collection.rotation3d`."""

from tools.bundles.collection.rotation3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="rotation2d",
    method=METHOD,
    spatial_dims=2,
    substitutions={"rotations": "4"},
    keys={"steps_per_epoch": 32, "batch_size": 8, "num_rotations": 4, "views_per_volume": 4},
    inference_keys={"patch_size": [96, 96]},
    paper={"batch_size": 32, "views_per_volume": 1, "head_channels": [2048, 1024], "head_dropout": 0.5},
    results=(0.686, (0.551, 0.801), 0.25),
)
