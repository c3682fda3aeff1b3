"""Relative patch location on volumes (Doersch et al., ICCV 2015; Taleb et al., NeurIPS 2020)."""

from tools.bundles.config import component
from tools.bundles.pretext import Method, Pretext

METHOD = Method(
    title="Relative patch location",
    objective="relative patch location",
    description="from two neighbouring patches of {scan}, each standardised, the network classifies the direction of "
    "one from the other ({directions} classes)",
    accuracy="the fraction of directions identified among {directions}",
    references=[
        "Doersch, C., Gupta, A., Efros, A. A. Unsupervised Visual Representation Learning by Context Prediction. "
        "ICCV 2015."
    ],
    keys={"grid": 3, "jitter": 3, "embedding_dim": 128, "head_channels": [256], "head_dropout": 0.0},
    task=component("tools.pretext.rpl.RelativePatchLocation", "roi_size", "grid", "gap", "jitter", "views_per_volume"),
    network=component(
        "tools.pretext.rpl.PairClassifier",
        classes="$len(@train#task.classes)",
        hidden_channels="@head_channels",
        dropout="@head_dropout",
        embedding_dim="@embedding_dim",
    ),
    loss=component("tools.pretext.MaskedCrossEntropy"),
    standardised=True,
)

BUNDLE = Pretext(
    name="rpl3d",
    method=METHOD,
    spatial_dims=3,
    substitutions={"directions": "26"},
    keys={"steps_per_epoch": 12, "spacing": 2.5, "roi_size": [64, 64, 64], "gap": 1, "views_per_volume": 26},
    inference_keys={"patch_size": [17, 17, 17]},
    paper={
        "batch_size": 32,
        "grid": 3,
        "gap": 1,
        "jitter": 3,
        "views_per_volume": 1,
        "embedding_dim": 256,
        "head_channels": [2048, 1024],
        "head_dropout": 0.5,
    },
    results=(0.449, (0.4, 0.495), 0.038),
)
