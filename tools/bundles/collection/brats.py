"""Brain tumour segmentation in four MR contrasts (Decathlon Task01, BraTS)."""

from tools.bundles import downstream
from tools.bundles.config import component
from tools.bundles.metadata import tensor
from tools.bundles.segmentation import Segmentation

METADATA = {
    "name": "Brain tumour segmentation",
    "task": "Segmentation of brain tumours in four MR contrasts, from any pretrained encoder",
    "description": "A U-Net with an encoder of this collection, pretrained or not, segments brain tumours into oedema, "
    "core and enhancing tumour. Evaluated regions are whole tumour, tumour core and enhancing tumour.",
    "data_source": "generated phantoms by default; Medical Segmentation Decathlon Task01 (CC BY-SA 4.0), or folders "
    "of BraTS 2018 to 2024 (the terms of the challenge); licences of the data: docs/data_license.txt",
    "data_type": "nifti",
    "image_classes": "FLAIR, T1w, t1gd (T1w with contrast agent) and T2w, four channels in this order, resampled to "
    "isotropic voxels, each channel z-score normalised over its non-zero voxels",
    "label_classes": "1 edema, 2 core (necrotic and non-enhancing), 3 enhancing; label maps are written with the "
    "stored values of the training data, which differ in BraTS, see docs/README.md",
    "pred_classes": "logits (sigmoid) of three nested regions: TC (core and enhancing), WT (all three labels), ET "
    "(enhancing)",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "5 generated test brains, after the default run from scratch",
        "mean_dice": 0.645,
        "mean_dice_interval_95": [0.434, 0.827],
        "dice_wt": 0.849,
        "dice_tc": 0.639,
        "dice_et": 0.447,
        "hd95_wt_mm": 52.2,
        "hd95_tc_mm": 34.9,
        "hd95_et_mm": 94.4,
    },
    "references": [
        "Menze, B. et al. The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS). IEEE TMI 2015.",
        "Taleb, A. et al. 3D Self-Supervised Methods for Medical Imaging. NeurIPS 2020.",
        "Antonelli, M. et al. The Medical Segmentation Decathlon. Nature Communications 2022.",
        "Bakas, S. et al. Advancing The Cancer Genome Atlas glioma MRI collections with expert segmentation "
        "labels and radiomic features. Scientific Data 2017.",
        "Baid, U. et al. The RSNA-ASNR-MICCAI BraTS 2021 Benchmark on Brain Tumor Segmentation and "
        "Radiogenomic Classification. arXiv 2107.02314, 2021.",
    ],
    "network_data_format": {
        "inputs": {
            "image": tensor("image/magnitude", ["16*n", "16*n", "16*n"], ["FLAIR", "T1w", "t1gd", "T2w"], modality="MR")
        },
        "outputs": {"pred": tensor("image/segmentation", ["16*n", "16*n", "16*n"], ["TC", "WT", "ET"])},
    },
}

BUNDLE = Segmentation(
    name="brats",
    phantoms="brats_phantoms",
    labels=component("tools.data.brain_tumour_labels", "dataset_dir"),
    label_manager=component("tools.segmentation.build_brats_labels", labels="$list(@trained_labels)"),
    background=component("tools.data.resection_cavity_values", "dataset_dir"),
    keys={"spacing": 3.0, "flip_axes": [0, 1, 2]},
    default_labels={"edema": 1, "core": 2, "enhancing": 3},
    inference_keys={"in_channels": 4},
    paper={
        "epochs": 150,
        "steps_per_epoch": 285,
        "learning_rate": 0.0001,
        "weight_decay": 0.0,
        "lr_warmup_epochs": 0,
        "freeze_epochs": 20,
        "num_workers": 4,
        "cache": "disk",
        "spacing": 1.0,
        "roi_size": [128, 128, 128],
        "batch_size": 8,
        "val_fraction": 0.05,
        "val_interval": 5,
    },
    metadata=METADATA,
    data_terms="Medical Segmentation Decathlon Task01_BrainTumour: CC BY-SA 4.0.\n"
    "BraTS: the terms of the challenge (registration); not redistributed here.",
)
