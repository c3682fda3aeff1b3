"""Masked autoencoding on volumes (He et al., CVPR 2022; Wald et al., CVPR 2025)."""

from dataclasses import replace

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext

MAE = "He, K. et al. Masked Autoencoders Are Scalable Vision Learners. CVPR 2022."
METHOD = Method(
    title="Masked autoencoding",
    objective="reconstructing masked patches",
    description="60 % of the patches of {scan} are masked, and the network reconstructs them",
    accuracy="the fraction of reconstructions closest to their own patch among {patches} masked patches",
    references=[MAE, "{paper}"],
    taleb=False,
    keys={"mask_ratio": 0.6, "norm_pix_loss": True, "embedding_dim": 32},
    new_keys=(
        Key("mask_patch_size", kinds.SIZE_OR_EDGE, "size of a masked patch; a divisor of `roi_size`"),
        Key("mask_ratio", kinds.BETWEEN_0_AND_1, "fraction of masked patches"),
        Key("norm_pix_loss", kinds.BOOLEAN, "standardise each masked patch in the loss"),
    ),
    task=component(
        "tools.pretext.mae.MaskedAutoencoding", "roi_size", "mask_patch_size", "mask_ratio", "norm_pix_loss"
    ),
    network=component(
        "tools.pretext.mae.MaskedAutoencoder",
        patch_size="$@train#task.layout.patch_size",
        embedding_dim="@embedding_dim",
    ),
    loss=component("torch.nn.MSELoss"),
)

EXCLUDE = Key(
    "exclude_anonymised",
    kinds.BOOLEAN,
    "exclude anonymised voxels from the loss, for data lists of nnssl and OpenMind with masks",
)

BUNDLE = Pretext(
    name="mae3d",
    method=replace(
        METHOD,
        keys=METHOD.keys | {"exclude_anonymised": False},
        new_keys=(*METHOD.new_keys, EXCLUDE),
        loss=component("tools.pretext.mae.reconstruction_loss", "exclude_anonymised"),
    ),
    changes={
        "train": dict.fromkeys(("cases#anonymised", "preprocessing#anonymised"), "@exclude_anonymised"),
    },
    spatial_dims=3,
    substitutions={
        "patches": "38",
        "paper": "Wald, T. et al. Revisiting MAE Pre-training for 3D Medical Image Segmentation. CVPR 2025.",
    },
    keys={"steps_per_epoch": 12, "val_steps": 5, "spacing": 4.0, "roi_size": [32, 32, 32], "mask_patch_size": 8},
    inference_keys={"patch_size": [32, 32, 32]},
    paper={
        "steps_per_epoch": 250,
        "learning_rate": 0.001,
        "weight_decay": 3e-05,
        "lr_warmup_epochs": 10,
        "val_steps": 50,
        "roi_size": [160, 160, 160],
        "batch_size": 8,
        "mask_patch_size": 16,
        "mask_ratio": 0.75,
        "norm_pix_loss": False,
    },
    results=(0.503, (0.488, 0.518), 0.026),
)
