"""Classification of lung nodules as benign or malignant (LIDC-IDRI crops, MedMNIST)."""

from tools.bundles import common, downstream
from tools.bundles.classification import Classification, labelled_cases, table_keys
from tools.bundles.config import component
from tools.bundles.metadata import tensor

LABELS = ["benign", "malignant"]
METADATA = {
    "name": "Nodule malignancy",
    "task": "Classification of lung nodules as benign or malignant, from any pretrained 3D encoder",
    "description": "A 3D encoder of this collection, pretrained or not, classifies lung nodules as benign or "
    "malignant.",
    "data_source": "generated lung nodules by default; crops of LIDC-IDRI (CC BY 3.0) with their tables, or MedMNIST's "
    "nodulemnist3d (CC BY 4.0); licences of the data: docs/data_license.txt",
    "data_type": "npz",
    "image_classes": "crops of CT around a lung nodule, one channel, 1 mm voxels, values 0 to 255, minus 99, "
    "divided by 77",
    "label_classes": "0 benign (malignancy 1 or 2), 1 malignant (4 or 5); malignancy 3 is excluded",
    "pred_classes": "logit (sigmoid) of malignant",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "38 generated test nodules of 22 patients, after the default run from scratch",
        "auc": 0.992,
        "auc_interval_95": [0.974, 1.0],
        "sensitivity": 0.889,
        "specificity": 0.95,
    },
    "references": [
        "Zhang, S. et al. Advancing 3D Medical Image Analysis with Variable Dimension Transform based "
        "Supervised 3D Pre-training. Neurocomputing 2023, arXiv 2201.01426.",
        "Armato, S. G. et al. The Lung Image Database Consortium (LIDC) and Image Database Resource "
        "Initiative (IDRI): A completed reference database of lung nodules on CT scans. Medical Physics 2011.",
        "Yang, J. et al. Reinventing 2D Convolutions for 3D Images. IEEE JBHI 2021.",
        "Yang, J. et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
        "classification. Scientific Data 2023.",
    ],
    "network_data_format": {
        "inputs": {
            "image": tensor(
                "image/magnitude",
                ["16*n", "16*n", "16*n"],
                ["CT"],
                value_range=(-1.29, 2.03),
                is_patch=False,
                modality="CT",
            )
        },
        "outputs": {"pred": tensor("probabilities/classes", [], ["malignant"], is_patch=False)},
    },
}

BUNDLE = Classification(
    name="lidc",
    phantoms=common.phantoms("nodule_phantoms", "nodules", num_patients=120),
    cases=labelled_cases("tools.data.find_nodules"),
    inference_cases=component("tools.data.find_unlabelled_nodules", "dataset_dir"),
    split=downstream.split("tools.data.split_nodules", "dataset_dir", "split_by"),
    preprocessing=component("tools.classification.build_nodule_preprocessing", "roi_size", "max_voxels"),
    center_crop={"center_crop": True},
    augmentation=component("tools.classification.RandNoduled", "roi_size", "max_shift", "flip_prob", keys="image"),
    spatial_dims=3,
    in_channels=1,
    out_channels=1,
    loss=component(
        "tools.classification.OrdinalLoss",
        grades="$[case['label'] for case in @split['training']] if @class_weighting else None",
    ),
    metric={"auc": component("tools.classification.ROCAUC")},
    card={
        "labels": LABELS,
        "channels": ["CT"],
        "slice_axis": None,
        "spacing": 1.0,
        "intensity": {"mean": 99.0, "deviation": 77.0},
        "roi_size": "@roi_size",
    },
    compared_keys=("split_by", "max_shift", "flip_prob", "class_weighting"),
    expected={"roi_size": "@roi_size"},
    handlers=("ROCFigure", "BinaryReport", "BinaryWriter"),
    report_arguments={"labels": LABELS},
    keys={
        **table_keys(),
        "split_by": "auto",
        "roi_size": [32, 32, 32],
        "max_shift": 5,
        "flip_prob": 0.75,
        "class_weighting": True,
    },
    inference_keys={"output_dir": "$@bundle_root + '/output/predictions'"},
    paper={
        "epochs": 100,
        "steps_per_epoch": 41,
        "learning_rate": 0.0005,
        "weight_decay": 0.0001,
        "lr_warmup_epochs": 1,
        "num_workers": 4,
        "cache": "disk",
        "roi_size": [48, 48, 48],
        "batch_size": 32,
        "max_shift": 5,
        "flip_prob": 0.75,
        "split_by": "published",
        "val_interval": 2,
        "encoder": "resnet18",
        "norm": "batch",
        "class_weighting": False,
    },
    metadata=METADATA,
    data_terms="LIDC-IDRI: CC BY 3.0 (The Cancer Imaging Archive). MedMNIST: CC BY 4.0. Neither is redistributed here.",
)
