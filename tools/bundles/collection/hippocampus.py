"""Segmentation of anterior and posterior hippocampus in T1 MR crops (Decathlon Task04)."""

from tools.bundles import downstream
from tools.bundles.config import component
from tools.bundles.metadata import tensor
from tools.bundles.segmentation import Segmentation

LABELS = {"anterior": 1, "posterior": 2}
METADATA = {
    "name": "Hippocampus segmentation in T1-weighted MRI",
    "task": "Segmentation of the anterior and posterior hippocampus in crops of T1-weighted MRI",
    "description": "A U-Net with an encoder of this collection, pretrained or not, segments both parts of the "
    "hippocampus in crops of T1-weighted MRI at 1 mm.",
    "data_source": "generated phantoms by default; Medical Segmentation Decathlon Task04 (CC BY-SA 4.0), or any "
    "folder in its format; licences of the data: docs/data_license.txt",
    "data_type": "nifti",
    "image_classes": "T1-weighted MR, one channel, resampled to 1 mm, standardised over the foreground",
    "label_classes": "1 anterior, 2 posterior",
    "pred_classes": "logits (softmax) of background, anterior and posterior hippocampus",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "52 test crops of the Medical Segmentation Decathlon Task04",
        "mean_dice": 0.885,
        "mean_dice_interval_95": [0.875, 0.895],
        "dice_anterior": 0.893,
        "dice_posterior": 0.878,
        "hd95_anterior_mm": 1.4,
        "hd95_posterior_mm": 1.6,
    },
    "weights": {
        "data": "208 MR crops of the Medical Segmentation Decathlon Task04 (hippocampus)",
        "license": "CC BY-SA 4.0",
        "sha256": "7506d697acdf1de5211f2d496517e781c467c9a911df9f7187ba0f518fe786b8",
    },
    "references": [
        "Antonelli, M. et al. The Medical Segmentation Decathlon. Nature Communications 2022.",
        "Taleb, A. et al. 3D Self-Supervised Methods for Medical Imaging. NeurIPS 2020.",
    ],
    "network_data_format": {
        "inputs": {"image": tensor("image/magnitude", [40, 56, 40], ["T1"], modality="MR")},
        "outputs": {"pred": tensor("image/segmentation", [40, 56, 40], ["background", "anterior", "posterior"])},
    },
}

BUNDLE = Segmentation(
    name="hippocampus",
    phantoms="hippocampus_phantoms",
    labels=component("tools.data.read_labels", "dataset_dir", "num_classes", default=LABELS),
    label_manager=component("tools.segmentation.SoftmaxLabels", names="$list(@trained_labels)"),
    keys={
        "num_classes": None,
        "spacing": 1.0,
        "hu_window": None,
        "roi_size": [40, 56, 40],
        "epochs": 12,
        "steps_per_epoch": 50,
        "batch_size": 2,
        "learning_rate": 0.002,
        "val_interval": "$min(2, @train#trainer#max_epochs)",
        "spatial_aug": 0.2,
        "flip_axes": [],
    },
    default_labels=LABELS,
    inference_keys={"in_channels": 1},
    ships_weights=True,
    paper={
        "epochs": 1000,
        "steps_per_epoch": 250,
        "batch_size": 9,
        "flip_axes": [0, 1, 2],
        "spatial_aug": 0.2,
        "num_workers": 4,
    },
    metadata=METADATA,
    data_terms="Medical Segmentation Decathlon Task04_Hippocampus: CC BY-SA 4.0.",
    shipped_terms="This bundle contains one crop of Task04_Hippocampus with its label (docs/example), figures of crops "
    "(docs) and weights\ntrained on crops (models). They are adapted from data of the Vanderbilt University "
    "Medical Center\nin M. Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 2022, and are "
    "licensed\nunder CC BY-SA 4.0\n(https://creativecommons.org/licenses/by-sa/4.0/).",
)
