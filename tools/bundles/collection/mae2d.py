"""Masked autoencoding on photographs and slices; see `tools.bundles.collection.mae3d`."""

from tools.bundles.collection.mae3d import METHOD
from tools.bundles.pretext import Pretext

BUNDLE = Pretext(
    name="mae2d",
    method=METHOD,
    spatial_dims=2,
    substitutions={
        "patches": "22",
        "paper": "Tian, K. et al. Designing BERT for Convolutional Networks: Sparse and Hierarchical Masked Modeling. "
        "ICLR 2023.",
    },
    keys={"steps_per_epoch": 32, "batch_size": 8, "mask_patch_size": 16},
    inference_keys={"patch_size": [96, 96]},
    paper={
        "epochs": 1600,
        "learning_rate": 0.0002,
        "weight_decay": 0.04,
        "lr_warmup_epochs": 40,
        "encoder": "resnet50",
        "batch_size": 256,
        "mask_patch_size": 32,
        "mask_ratio": 0.6,
    },
    results=(0.299, (0.274, 0.323), 0.045),
)
