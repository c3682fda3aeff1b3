"""Jigsaw puzzles on volumes (Noroozi and Favaro, ECCV 2016; Taleb et al., NeurIPS 2020)."""

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext

METHOD = Method(
    title="Jigsaw puzzle",
    objective="solving jigsaw puzzles",
    description="the patches of {scan}, each standardised, are shuffled by one of 100 permutations, and the network "
    "classifies the permutation",
    accuracy="the fraction of permutations identified among 100",
    references=[
        "Noroozi, M., Favaro, P. Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles. ECCV 2016."
    ],
    keys={
        "grid": 3,
        "jitter": 3,
        "num_permutations": 100,
        "views_per_volume": 16,
        "head": "positions",
        "embedding_dim": 64,
        "head_channels": [256],
        "head_dropout": 0.0,
    },
    new_keys=(
        Key("num_permutations", kinds.integer(1), "size of the permutation set"),
        Key("min_hamming_distance", kinds.integer(1), "minimum Hamming distance between two permutations"),
        Key("head", kinds.NAME, "`positions`, or `concatenated` as in the public code of Taleb et al."),
    ),
    task=component(
        "tools.pretext.jigsaw.Jigsaw",
        *("roi_size", "grid", "gap", "jitter", "num_permutations", "min_hamming_distance", "views_per_volume"),
    ),
    network=component(
        "tools.pretext.jigsaw.jigsaw_network",
        "head",
        permutations="$@train#task.permutations",
        hidden_channels="@head_channels",
        dropout="@head_dropout",
        embedding_dim="@embedding_dim",
    ),
    loss=component("tools.pretext.MaskedCrossEntropy"),
    standardised=True,
)

BUNDLE = Pretext(
    name="jigsaw3d",
    method=METHOD,
    spatial_dims=3,
    keys={"steps_per_epoch": 12, "spacing": 2.0, "roi_size": [64, 64, 64], "gap": 1, "min_hamming_distance": 24},
    inference_keys={"patch_size": [17, 17, 17]},
    paper={
        "batch_size": 8,
        "grid": 3,
        "gap": 1,
        "jitter": 3,
        "views_per_volume": 1,
        "head": "concatenated",
        "embedding_dim": 256,
        "head_channels": [2048, 1024],
        "head_dropout": 0.5,
    },
    results=(0.977, (0.959, 0.996), 0.01),
)
