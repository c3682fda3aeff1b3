"""Pancreas and tumour segmentation in CT (Decathlon Task07), or any data set in Decathlon format."""

from tools.bundles import downstream
from tools.bundles.config import component
from tools.bundles.metadata import tensor
from tools.bundles.segmentation import Segmentation

METADATA = {
    "name": "Pancreas and pancreatic tumour segmentation",
    "task": "Segmentation of the pancreas and its tumours in CT, from any pretrained encoder",
    "description": "A U-Net with an encoder of this collection, pretrained or not, segments pancreas and tumour in "
    "portal venous CT. Other Decathlon tasks need only other settings.",
    "data_source": "generated phantoms by default; Medical Segmentation Decathlon Task07 (CC BY-SA 4.0), or any "
    "folder in its format; licences of the data: docs/data_license.txt",
    "data_type": "nifti",
    "image_classes": "CT, one channel, resampled to isotropic voxels; -150 to 250 HU mapped to -1 to 1 and clipped",
    "label_classes": "1 pancreas, 2 cancer",
    "pred_classes": "logits (softmax) of background, pancreas and cancer",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "5 generated test abdomens, after the default run from scratch",
        "mean_dice": 0.344,
        "mean_dice_interval_95": [0.331, 0.353],
        "dice_pancreas": 0.635,
        "dice_cancer": 0.053,
        "hd95_pancreas_mm": 32.0,
        "hd95_cancer_mm": 63.1,
    },
    "references": [
        "Antonelli, M. et al. The Medical Segmentation Decathlon. Nature Communications 2022.",
        "Taleb, A. et al. 3D Self-Supervised Methods for Medical Imaging. NeurIPS 2020.",
    ],
    "network_data_format": {
        "inputs": {
            "image": tensor("image/hounsfield", ["16*n", "16*n", "16*n"], ["CT"], value_range=(-1, 1), modality="CT")
        },
        "outputs": {
            "pred": tensor("image/segmentation", ["16*n", "16*n", "16*n"], ["background", "pancreas", "cancer"])
        },
    },
}

BUNDLE = Segmentation(
    name="pancreas",
    phantoms="pancreas_phantoms",
    labels=component("tools.data.read_labels", "dataset_dir", "num_classes"),
    label_manager=component("tools.segmentation.SoftmaxLabels", names="$list(@trained_labels)"),
    keys={"num_classes": None, "spacing": 4.0, "hu_window": [-150.0, 250.0], "flip_axes": []},
    default_labels={"pancreas": 1, "cancer": 2},
    inference_keys={"in_channels": 1},
    paper={
        "epochs": 400,
        "steps_per_epoch": 100,
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "lr_warmup_epochs": 0,
        "freeze_epochs": 25,
        "num_workers": 4,
        "cache": "disk",
        "spacing": 1.5,
        "roi_size": [128, 128, 128],
        "batch_size": 2,
        "val_fraction": 0.05,
        "val_interval": 5,
    },
    metadata=METADATA,
    data_terms="Medical Segmentation Decathlon Task07_Pancreas and Task04_Hippocampus: CC BY-SA 4.0; not redistributed "
    "here.",
)
