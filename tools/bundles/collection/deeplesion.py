"""Detection of lesions in CT slices with 3D context (DeepLesion)."""

from tools.bundles import common, downstream
from tools.bundles.detection import Detection
from tools.bundles.keys import AS_IN_TRAINING
from tools.bundles.metadata import tensor

METADATA = {
    "name": "Lesion detection in CT slices",
    "task": "Detection of lesions in CT slices with 3D context, from any pretrained 3D encoder",
    "description": "RetinaNet with a 3D encoder of this collection, pretrained or not, detects lesions in a CT slice "
    "from a stack of neighbouring slices.",
    "data_source": "generated CT slices by default; DeepLesion as published, or its annotations as COCO-style JSON "
    "(the terms of the NIH Clinical Center); licences of the data: docs/data_license.txt",
    "data_type": "16-bit png; in inference also nifti, nrrd, mha, dicom",
    "image_classes": "stacks of nine CT slices 2.5 mm apart, one channel, -1024 to 1050 HU mapped to 0 to 255, "
    "minus 123.675, divided by 58.395",
    "label_classes": "boxes around lesions in the middle slice; one class, lesion",
    "pred_classes": "a list of maps of the four pyramid levels, finest first: classification logits of all levels, "
    "then encoded boxes of all levels, for three anchors per location",
    "intended_use": downstream.INTENDED_USE,
    "eval_metrics": {
        "data": "35 lesions in 23 generated test slices (an earlier version) of 18 patients, after the default run "
        "from scratch; sensitivity at 0.5, 1, 2 and 4 false positives per slice",
        "mean_sensitivity": 0.564,
        "mean_sensitivity_interval_95": [0.399, 0.699],
        "sensitivity_at_0.5": 0.514,
        "sensitivity_at_0.5_interval_95": [0.308, 0.676],
        "sensitivity_at_4": 0.629,
        "sensitivity_at_4_interval_95": [0.483, 0.733],
        "ap_at_0.5": 0.459,
        "ap_at_0.5_interval_95": [0.305, 0.637],
    },
    "references": [
        "Zhang, S. et al. Revisiting 3D Context Modeling with Supervised Pre-training for Universal Lesion "
        "Detection in CT Slices. MICCAI 2020, arXiv 2012.08770.",
        "Zhang, S. et al. Advancing 3D Medical Image Analysis with Variable Dimension Transform based "
        "Supervised 3D Pre-training. Neurocomputing 2023, arXiv 2201.01426.",
        "Yan, K. et al. DeepLesion: automated mining of large-scale lesion annotations and universal lesion "
        "detection with deep learning. J. Med. Imaging 2018.",
        "Zhang, S. et al. Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive "
        "Training Sample Selection. CVPR 2020.",
        "Lin, T.-Y. et al. Focal Loss for Dense Object Detection. ICCV 2017.",
    ],
    "network_data_format": {
        "inputs": {
            "image": tensor(
                "image/hounsfield",
                [9, "32*n", "32*n"],
                ["CT"],
                value_range=(-2.12, 2.25),
                is_patch=False,
                modality="CT",
            )
        },
        "outputs": {
            "pred": tensor(
                "object/classes", ["8*n", "8*n"], ["lesion, high", "lesion, square", "lesion, wide"], is_patch=False
            )
        },
    },
}

BUNDLE = Detection(
    name="deeplesion",
    keys={
        "annotations": None,
        "steps_per_epoch": 25,
        "batch_size": 8,
        "learning_rate": 0.002,
        "lr_schedule": "step",
        "milestones": [0.67, 0.92],
        "max_grad_norm": 35.0,
        "split_by": "auto",
        "test_fraction": 0.15,
        "num_slices": 9,
        "slice_spacing": 2.5,
        "image_size": 96,
        "train_sizes": [96],
        "flip_prob": 0.5,
        "depth_pooling": "center",
        "fpn_channels": 64,
        "atss_num_candidates": 1,
        "ignore_iou_thresh": 0.2,
        "sampling": "focal",
        "batch_size_per_image": 256,
        "positive_fraction": 0.25,
        "box_loss_weight": 5.0,
        "topk_candidates_per_level": 400,
        "detections_per_img": 100,
        "nms_thresh": 0.2,
        "match_metric": "iou",
        "match_thresh": 0.5,
        "exclude_noisy": False,
    },
    inference_keys={
        "batch_size": 4,
        "score_thresh": None,
        **dict.fromkeys(("annotations", "num_slices", "slice_spacing", "image_size"), AS_IN_TRAINING),
        **dict.fromkeys(
            ("depth_pooling", "fpn_channels", "topk_candidates_per_level", "detections_per_img", "nms_thresh"),
            AS_IN_TRAINING,
        ),
    },
    paper={
        "epochs": 24,
        "steps_per_epoch": 1406,
        "batch_size": 2,
        "learning_rate": 0.02,
        "weight_decay": 0.0001,
        "lr_schedule": "step",
        "milestones": [0.6667, 0.9167],
        "lr_warmup_epochs": 0.36,
        "max_grad_norm": 35.0,
        "val_interval": 1,
        "num_workers": 4,
        "cache": "none",
        "num_slices": 9,
        "slice_spacing": 2.5,
        "image_size": 512,
        "train_sizes": [384, 448, 512, 576, 640],
        "encoder": "p3d63",
        "norm": ["group", {"num_groups": 32}],
        "depth_pooling": "center",
        "fpn_channels": 256,
        "optimizer": common.sgd("@learning_rate", 0.9),
        "sampling": "focal",
        "atss_num_candidates": 3,
        "box_loss_weight": 5.0,
        "nms_thresh": 0.5,
    },
    metadata=METADATA,
    data_terms="DeepLesion: the terms of the NIH Clinical Center; not redistributed here.",
)
