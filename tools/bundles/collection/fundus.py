"""Grading of diabetic retinopathy on fundus photographs (EyePACS, APTOS 2019, IDRiD, Messidor, or any table)."""

from tools.bundles import common, downstream
from tools.bundles.classification import Classification, labelled_cases, table_keys
from tools.bundles.config import component, references
from tools.bundles.keys import AS_IN_TRAINING
from tools.bundles.metadata import tensor

METADATA = {
    "name": "Diabetic retinopathy grading",
    "task": "Grading of diabetic retinopathy on fundus photographs, from any pretrained 2D encoder",
    "description": "A 2D encoder of this collection, pretrained or not, grades diabetic retinopathy from 0 to 4 with "
    "four ordinal outputs: at least mild, moderate, severe, proliferative.",
    "data_source": "generated fundus photographs by default; EyePACS and APTOS 2019 (the rules of their "
    "competitions), IDRiD (CC BY 4.0), Messidor and Messidor-2 (the terms of their publishers), or any folder with "
    "a table; licences of the data: docs/data_license.txt",
    "data_type": "jpeg, png, tiff, bmp",
    "image_classes": "colour photographs of the retina, cropped to its disc and resized to a square, each channel "
    "z-score normalised over its non-zero pixels",
    "label_classes": "0 none, 1 mild, 2 moderate, 3 severe, 4 proliferative",
    "pred_classes": "logits (sigmoid) of at least grade 1, 2, 3, 4; the grade is the number of probabilities above 0.5",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "36 generated test photographs of 18 patients, after the default run from scratch",
        "quadratic_kappa": 0.651,
        "quadratic_kappa_interval_95": [0.419, 0.773],
        "accuracy": 0.361,
        "referable_auc": 0.976,
    },
    "references": [
        "Taleb, A. et al. 3D Self-Supervised Methods for Medical Imaging. NeurIPS 2020.",
        "Graham, B. Kaggle Diabetic Retinopathy Detection competition report. University of Warwick, 2015.",
        "Cuadros, J., Bresnick, G. EyePACS: An Adaptable Telemedicine System for Diabetic Retinopathy "
        "Screening. Journal of Diabetes Science and Technology 2009.",
        "Porwal, P. et al. Indian Diabetic Retinopathy Image Dataset (IDRiD): A Database for Diabetic "
        "Retinopathy Screening Research. Data 2018.",
        "Decencière, E. et al. Feedback on a Publicly Distributed Image Database: The Messidor Database. "
        "Image Analysis and Stereology 2014.",
    ],
    "network_data_format": {
        "inputs": {
            "image": tensor(
                "image/magnitude",
                ["16*n", "16*n"],
                ["red", "green", "blue"],
                is_patch=False,
                modality="fundus photograph",
            )
        },
        "outputs": {
            "pred": tensor(
                "probabilities/classes",
                [],
                ["at least grade 1", "at least grade 2", "at least grade 3", "at least grade 4"],
                is_patch=False,
            )
        },
    },
}

BUNDLE = Classification(
    name="fundus",
    phantoms=common.phantoms("fundus_phantoms", "fundus", num_patients=90, seed=1),
    cases=labelled_cases("tools.data.find_graded_images"),
    inference_cases=component("tools.data.find_images", "dataset_dir", include_label_maps=None, advise_slices=False),
    split=downstream.split("tools.data.split_labelled_cases", stratify_by="label"),
    preprocessing=component(
        "tools.classification.build_grading_preprocessing",
        *("roi_size", "local_contrast", "max_voxels"),
        channels="@in_channels",
    ),
    augmentation=component(
        "tools.classification.RandPhotographd", "max_zoom", intensity_aug="@intensity_aug", keys="image"
    ),
    spatial_dims=2,
    in_channels="@in_channels",
    out_channels=4,
    loss=component(
        "tools.classification.OrdinalLoss",
        grades="$[case['label'] for case in @split['training']] if @class_weighting else None",
    ),
    metric={"kappa": component("tools.classification.QuadraticWeightedKappa")},
    card={
        "labels": ["0", "1", "2", "3", "4"],
        "channels": "$['red', 'green', 'blue'] if @in_channels == 3 else ['image'] * @in_channels",
        "slice_axis": None,
        "resize_shorter_edge": "$@roi_size[0]",
        "intensity": {"hu_window": None},
        **references("local_contrast", "roi_size"),
    },
    compared_keys=("max_zoom", "intensity_aug", "class_weighting"),
    expected={"resize_shorter_edge": "$@roi_size[0]", "local_contrast": "@local_contrast"},
    handlers=("ConfusionFigure", "GradingReport", "GradingWriter"),
    writer=references("network"),
    keys={
        **table_keys(),
        "epochs": 14,
        "in_channels": 3,
        "roi_size": [160, 160],
        "local_contrast": False,
        "max_zoom": 0.15,
        "intensity_aug": 0.1,
        "class_weighting": True,
    },
    inference_keys={
        "output_dir": "$@bundle_root + '/output/grades'",
        **dict.fromkeys(("in_channels", "local_contrast"), AS_IN_TRAINING),
    },
    paper={
        "epochs": 20,
        "steps_per_epoch": 133,
        "learning_rate": 5e-05,
        "weight_decay": 0.0,
        "lr_warmup_epochs": 0,
        "freeze_epochs": 3,
        "num_workers": 4,
        "cache": "disk",
        "roi_size": [224, 224],
        "batch_size": 32,
        "val_fraction": 0.04,
        "test_fraction": 0.2,
        "val_interval": 1,
        "encoder": "densenet121",
        "norm": "batch",
        "head_channels": [1024],
        "head_dropout": 0.5,
        "class_weighting": False,
        "intensity_aug": 0.0,
    },
    metadata=METADATA,
    data_terms="IDRiD: CC BY 4.0. EyePACS and APTOS 2019: the rules of their competitions. Messidor and Messidor-2: "
    "the terms of their publishers. None is redistributed here.",
)
