"""Rotation prediction on volumes (Gidaris et al., ICLR 2018; Taleb et al., NeurIPS 2020)."""

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext

METHOD = Method(
    title="Rotation",
    objective="predicting rotations",
    description="{scan} is rotated by multiples of 90 degrees, and the network classifies the rotation ({rotations} "
    "classes)",
    accuracy="the fraction of rotations identified among {rotations}",
    references=[
        "Gidaris, S., Singh, P., Komodakis, N. Unsupervised Representation Learning by Predicting Image Rotations. "
        "ICLR 2018."
    ],
    keys={"embedding_dim": 128, "head_channels": [256], "head_dropout": 0.0},
    new_keys=(Key("num_rotations", kinds.integer(1), "number of rotation classes"),),
    task=component("tools.pretext.rotation.Rotation", "roi_size", "num_rotations", "views_per_volume"),
    network=component(
        "tools.pretext.rotation.ViewClassifier",
        classes="$len(@train#task.classes)",
        hidden_channels="@head_channels",
        dropout="@head_dropout",
        embedding_dim="@embedding_dim",
    ),
    loss=component("tools.pretext.MaskedCrossEntropy"),
    isotropic=True,
)

BUNDLE = Pretext(
    name="rotation3d",
    method=METHOD,
    spatial_dims=3,
    substitutions={"rotations": "10"},
    keys={
        "batch_size": 2,
        "val_steps": 5,
        "spacing": 4.0,
        "roi_size": [32, 32, 32],
        "num_rotations": 10,
        "views_per_volume": 10,
    },
    inference_keys={"patch_size": [32, 32, 32]},
    paper={"batch_size": 4, "views_per_volume": 1, "head_channels": [2048, 1024], "head_dropout": 0.5},
    results=(0.683, (0.66, 0.709), 0.1),
)
