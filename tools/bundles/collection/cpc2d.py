"""Contrastive predictive coding on photographs and slices; see `tools.bundles.collection.cpc3d`."""

from tools.bundles.collection.cpc3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="cpc2d",
    method=METHOD,
    spatial_dims=2,
    keys={"steps_per_epoch": 20, "batch_size": 16, "negatives_same_volume": 7, "negatives_other_volumes": 56},
    inference_keys={"patch_size": [24, 24]},
    paper={
        "batch_size": 64,
        "grid": 5,
        "cell_overlap": 37,
        "jitter": 7,
        "embedding_dim": 1024,
        "context_dim": 256,
    },
    results=(0.297, (0.252, 0.345), 0.016),
)
