"""Contrastive predictive coding on volumes (van den Oord et al., arXiv 1807.03748; Taleb et al., NeurIPS 2020)."""

from tools.bundles import kinds
from tools.bundles.config import component
from tools.bundles.keys import Key
from tools.bundles.pretext import Method, Pretext

METHOD = Method(
    title="Contrastive predictive coding",
    objective="contrastive predictive coding",
    description="the network predicts the embedding of a patch in {scan} from the preceding patches along an axis "
    "(InfoNCE)",
    accuracy="the fraction of targets identified among 64 candidates",
    references=[
        "van den Oord, A., Li, Y., Vinyals, O. Representation Learning with Contrastive Predictive Coding. "
        "arXiv 1807.03748, 2018."
    ],
    keys={
        "grid": 4,
        "jitter": 0,
        "cell_overlap": 0,
        "prediction_steps": 2,
        "context_rows": 2,
        "temperature": 0.05,
        "embedding_dim": 256,
        "context_dim": 256,
        "loss": "infonce",
    },
    new_keys=(
        Key("cell_overlap", kinds.integer(0), "overlap of neighbouring cells, in voxels"),
        Key("prediction_steps", kinds.integer(1), "number of predicted rows"),
        Key("context_rows", kinds.integer(1), "number of rows of a context"),
        Key("negatives_same_volume", kinds.integer(0), "negatives from the same image"),
        Key("negatives_other_volumes", kinds.integer(0), "negatives from other images"),
        Key("context_dim", kinds.integer(1), "dimension of the context vector"),
        Key("loss", kinds.NAME, "`infonce`, or `binary` as in the public code of Taleb et al."),
    ),
    task=component(
        "tools.pretext.cpc.CPC",
        *("roi_size", "grid", "jitter", "cell_overlap", "prediction_steps", "context_rows"),
        *("negatives_same_volume", "negatives_other_volumes"),
    ),
    network=component(
        "tools.pretext.cpc.CPCNetwork",
        *("context_dim", "context_rows", "temperature"),
        steps="$@train#task.steps",
        embedding_dim="@embedding_dim",
    ),
    loss=component("tools.pretext.cpc.cpc_loss", name="@loss"),
)

BUNDLE = Pretext(
    name="cpc3d",
    method=METHOD,
    spatial_dims=3,
    keys={
        "steps_per_epoch": 6,
        "learning_rate": 0.0005,
        "val_steps": 3,
        "spacing": 2.0,
        "roi_size": [64, 64, 64],
        "negatives_same_volume": 31,
        "negatives_other_volumes": 32,
    },
    inference_keys={"patch_size": [16, 16, 16]},
    paper={"batch_size": 8, "grid": 4, "jitter": 4, "embedding_dim": 1024, "context_dim": 256},
    results=(0.082, (0.067, 0.101), 0.016),
)
