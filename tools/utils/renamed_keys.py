"""Renamed configuration keys, for commands, encoder cards and checkpoints of earlier versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED_KEYS = {
    "allow_overlap": "allow_test_leakage",
    "balance_grades": "class_weighting",
    "balance_labels": "class_weighting",
    "bank_size": "queue_size",
    "box_weight": "box_loss_weight",
    "check": "dry_run",
    "code_channels": "embedding_dim",
    "context_channels": "context_dim",
    "crop_area": "crop_scale",
    "crops_per_case": "num_samples",
    "flip_chance": "flip_prob",
    "frozen_epochs": "freeze_epochs",
    "global_batch": "global_batch_size",
    "ignored_overlap": "ignore_iou_thresh",
    "intensity_change": "intensity_aug",
    "mask_patch": "mask_patch_size",
    "match": "match_metric",
    "match_overlap": "match_thresh",
    "matched_places": "atss_num_candidates",
    "max_candidates": "topk_candidates_per_level",
    "max_detections": "detections_per_img",
    "max_gradient_norm": "max_grad_norm",
    "min_distance": "min_hamming_distance",
    "min_score": "score_thresh",
    "nms_overlap": "nms_thresh",
    "normalise_targets": "norm_pix_loss",
    "overlap": "cell_overlap",
    "picture_size": "resize_shorter_edge",
    "projection": "depth_pooling",
    "sampled_anchors": "batch_size_per_image",
    "schedule": "lr_schedule",
    "shift": "max_shift",
    "shuffle_colours": "shuffle_channels",
    "slices": "num_slices",
    "validation_fraction": "val_fraction",
    "validation_steps": "val_steps",
    "warmup_epochs": "lr_warmup_epochs",
    "window_overlap": "sw_overlap",
    "zoom": "max_zoom",
    "zoom_probability": "zoom_prob",
}
RENAMED_VALUES = {"protocol": {"warmup": "freeze_then_finetune"}, "head": {"places": "positions"}}


def rename_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return recorded settings with the current names of keys and values."""
    renamed = {RENAMED_KEYS.get(key, key): value for key, value in settings.items()}
    for key, values in RENAMED_VALUES.items():
        if isinstance(renamed.get(key), str):
            renamed[key] = values.get(renamed[key], renamed[key])
    return renamed
