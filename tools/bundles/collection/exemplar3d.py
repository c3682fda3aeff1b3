"""Exemplar training on volumes (Dosovitskiy et al., TPAMI 2016; Taleb et al., NeurIPS 2020)."""

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext

METHOD = Method(
    title="Exemplar",
    objective="exemplar discrimination",
    description="two augmented views of {scan} must be closer to each other than to views of other images, by a "
    "margin (triplet loss with semi-hard and hard negatives of the batch and hard negatives of a memory bank)",
    accuracy="the fraction of triplets in the correct order",
    references=[
        "Dosovitskiy, A. et al. Discriminative Unsupervised Feature Learning with Exemplar Convolutional Neural "
        "Networks. TPAMI 2016.",
        "Chen, T., Kornblith, S., Norouzi, M., Hinton, G. A Simple Framework for Contrastive Learning of Visual "
        "Representations. ICML 2020, arXiv 2002.05709.",
        "Schroff, F., Kalenichenko, D., Philbin, J. FaceNet: A Unified Embedding for Face Recognition and Clustering. "
        "CVPR 2015.",
    ],
    keys={
        "learning_rate": 0.0003,
        "max_zoom": 0.2,
        "zoom_prob": 0.15,
        "brightness": 0.125,
        "contrast": 0.5,
        "loss": "triplet",
        "margin": 0.3,
        "temperature": 0.1,
        "queue_size": 256,
        "embedding_dim": 128,
        "head_channels": 256,
        "head_norm": "layer",
    },
    new_keys=(
        Key("max_zoom", kinds.BELOW_1, "maximum deviation of the zoom factor from 1"),
        Key("zoom_prob", kinds.PROBABILITY, "probability of a zoom"),
        Key("brightness", kinds.at_least(0), "maximum intensity shift, fraction of the crop's range"),
        Key("contrast", kinds.BELOW_1, "maximum deviation of the contrast factor from 1"),
        Key("loss", kinds.NAME, "`triplet`, or `nt_xent` as in SimCLR"),
        Key("head_norm", kinds.NAME, "norm of the projection head: `layer`, or `batch` as in SimCLR"),
        Key("margin", kinds.POSITIVE, "margin of `triplet`"),
        Key("queue_size", kinds.integer(0), "size of the memory bank of `triplet`; 0: none"),
    ),
    task=component("tools.pretext.exemplar.Exemplar", "roi_size", "max_zoom", "zoom_prob", "brightness", "contrast"),
    network=component(
        "tools.pretext.exemplar.ProjectionNetwork",
        *("embedding_dim", "head_norm"),
        hidden_channels="@head_channels",
    ),
    loss=component(
        "tools.pretext.exemplar.exemplar_loss",
        *("margin", "queue_size", "temperature", "device"),
        name="@loss",
        embedding_dim="@embedding_dim",
    ),
)

BUNDLE = Pretext(
    name="exemplar3d",
    method=METHOD,
    spatial_dims=3,
    keys={"batch_size": 8, "spacing": 4.0, "roi_size": [32, 32, 32]},
    inference_keys={"patch_size": [32, 32, 32]},
    paper={"batch_size": 2, "embedding_dim": 1024},
    results=(0.891, (0.841, 0.938), 0.5),
)
