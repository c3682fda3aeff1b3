"""Registry of the configuration keys that bundles share: kind of value, description, and default by family.

Keys of a single bundle, and other defaults, are in the module of the bundle; see `tools.bundles.bundle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.bundles import kinds
from tools.bundles.kinds import Kind
from tools.data.formats.sources import MAX_VOXELS
from tools.utils.errors import check_choice

PRETEXT, SEGMENTATION, CLASSIFICATION, DETECTION = FAMILIES = ("pretext", "segmentation", "classification", "detection")
DOWNSTREAM = (SEGMENTATION, CLASSIFICATION, DETECTION)

#: default of keys of ``inference.json`` that equal the value of ``train.json``
AS_IN_TRAINING = "as in training"


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        name: top-level key of the configuration files.
        kind: accepted values.
        description: description on one line.
        train: default in ``train.json`` by family; other families do not have the key unless a bundle adds it.
        inference: default in ``inference.json`` by family.
        study: tuple with the default in ``study.json``; empty if the file does not have the key.
        documented_default: default in the documentation, if the default is an expression.
    """

    name: str
    kind: Kind
    description: str
    train: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    study: tuple[Any, ...] = ()
    documented_default: str = ""


def _in(value: Any, *families: str) -> dict[str, Any]:
    """Return a mapping of families, all by default, to a common default."""
    return dict.fromkeys(families or FAMILIES, value)


def _everywhere(name: str, kind: Kind, description: str, default: Any, documented_default: str = "") -> Key:
    return Key(name, kind, description, _in(default), _in(AS_IN_TRAINING), documented_default=documented_default)


_COLUMN = kinds.optional(kinds.NAME)
_INTEGER, _COUNT = kinds.integer(0), kinds.integer(1)

KEYS: tuple[Key, ...] = (
    Key("dataset_dir", kinds.PATH, "data folder", study=(None,), documented_default="generated data"),
    Key(
        "annotations",
        kinds.optional(kinds.PATH),
        "table of lesions, JSON file, or folder of JSON files; None: searched in `dataset_dir`",
    ),
    Key("label_file", kinds.optional(kinds.PATH), "table of labels; None: searched in `dataset_dir`"),
    Key("image_column", _COLUMN, "table column of file names; None: detected by name"),
    Key("label_column", _COLUMN, "table column of labels; None: detected by name"),
    Key("patient_column", _COLUMN, "table column of patients; None: detected by name"),
    Key(
        "models_dir",
        kinds.PATH,
        "folder of checkpoint and weights",
        _in("$@bundle_root + '/models'"),
        _in(AS_IN_TRAINING, *DOWNSTREAM),
        documented_default="`models` in the bundle",
    ),
    Key(
        "output_dir",
        kinds.PATH,
        "folder of tables and figures",
        _in("$@bundle_root + '/output'"),
        documented_default="in `output` of the bundle",
    ),
    _everywhere(
        "device",
        kinds.DEVICE,
        "device of the network",
        "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "CUDA or CPU",
    ),
    _everywhere("amp", kinds.BOOLEAN, "mixed precision", "$torch.device(@device).type == 'cuda'", "on CUDA"),
    _everywhere("amp_dtype", kinds.choice("bfloat16", "float16"), "`bfloat16` or `float16`", "bfloat16"),
    Key("channels_last", kinds.BOOLEAN, "memory format with channels innermost", _in(True)),
    Key("compile", kinds.BOOLEAN, "`torch.compile`; needs a C++ compiler and minutes to start", _in(False)),
    Key("fused", kinds.BOOLEAN, "fused optimizer", _in(True)),
    Key("seed", _INTEGER, "random seed", _in(0)),
    Key("deterministic", kinds.BOOLEAN, "deterministic algorithms where PyTorch has them", _in(False)),
    Key("rank_timeout", kinds.POSITIVE, "seconds without a sign of life after which a process ends the run"),
    Key(
        "resume",
        kinds.BOOLEAN,
        "continue from `checkpoint.pt`; only learning rate, weight decay and number of steps may differ",
        _in(False),
    ),
    Key(
        "dry_run",
        kinds.BOOLEAN,
        "check data and settings, or print the plan of a study, without training",
        _in(False),
        study=(False,),
    ),
    Key(
        "plan",
        kinds.BOOLEAN,
        "suggest `spacing`, `roi_size` and `batch_size` for the data and the encoder, without training; "
        "`--spacing auto --roi_size auto` train with them",
    ),
    Key(
        "gpu_memory_target",
        kinds.POSITIVE,
        "GPU memory in GiB for which crops and batches are planned, in float32; mixed precision needs about half",
    ),
    Key(
        "pretrained",
        kinds.optional(kinds.PATH),
        "weights to start from: a `model.pt`, a file of another project, or `hf://owner/name/file`",
        _in(None),
        _in("$@bundle_root + '/models/model.pt'", PRETEXT),
        documented_default="None; in inference the bundle's own",
    ),
    Key(
        "protocol",
        kinds.NAME,
        "transfer protocol: `scratch`, `finetune`, `freeze_then_finetune`, `frozen`, `frozen_random` or `linear`",
        _in("$'finetune' if @pretrained else 'scratch'", *DOWNSTREAM),
        _in("finetune", SEGMENTATION),
        documented_default="`finetune` with `pretrained`, else `scratch`",
    ),
    Key("freeze_epochs", _INTEGER, "epochs with a frozen encoder, for `freeze_then_finetune`", _in(2, *DOWNSTREAM)),
    Key(
        "allow_test_leakage",
        kinds.BOOLEAN,
        "warn instead of stopping if test cases were used for pretraining or training",
        _in(False, *DOWNSTREAM),
    ),
    Key("label_fraction", kinds.UP_TO_1, "fraction of training patients to use", _in(1.0, *DOWNSTREAM)),
    Key("epochs", _COUNT, "number of epochs", _in(10, PRETEXT, CLASSIFICATION) | {SEGMENTATION: 24, DETECTION: 8}),
    Key(
        "steps_per_epoch",
        _COUNT,
        "training steps per epoch, independent of the number of cases",
        _in(10) | {CLASSIFICATION: 20},
    ),
    Key("batch_size", _COUNT, "cases per step and process", _in(4) | {CLASSIFICATION: 16}),
    Key("num_samples", _COUNT, "crops per case of a batch", _in(1, SEGMENTATION)),
    Key(
        "global_batch_size",
        _COUNT,
        "images per optimizer step over all processes; scales the learning rate",
    ),
    Key("accumulation_steps", _COUNT, "iterations per optimizer step, a divisor of `steps_per_epoch`", _in(1)),
    Key("learning_rate", kinds.POSITIVE, "peak learning rate", _in(0.001) | {SEGMENTATION: 0.006}),
    Key("lr_schedule", kinds.NAME, "learning-rate schedule: `cosine` or `step`"),
    Key(
        "milestones",
        kinds.list_of(kinds.UP_TO_1, "fractions of the run"),
        "fractions of the run after which `step` divides the learning rate by 10",
    ),
    Key("momentum", kinds.BELOW_1, "momentum of SGD"),
    Key("weight_decay", kinds.at_least(0), "weight decay", _in(0.0001)),
    Key("lr_warmup_epochs", kinds.at_least(0), "epochs of linear warm-up of the learning rate", _in(1)),
    Key("max_grad_norm", kinds.POSITIVE, "maximum gradient norm"),
    Key("label_smoothing", kinds.BELOW_1, "label smoothing of the cross-entropy"),
    _everywhere("num_workers", _INTEGER, "data loader processes; 0 suffices for cached data", 0),
    Key("val_interval", _COUNT, "epochs between validations",
        _in(1, PRETEXT) | _in(2, CLASSIFICATION, DETECTION) | {SEGMENTATION: "$min(4, @train#trainer#max_epochs)"}),
    Key("val_steps", _COUNT, "batches per validation", _in(4, PRETEXT)),
    Key("split_by", kinds.NAME, "`patient`, `published`, or `auto` for the official split if there is one"),
    Key(
        "val_fraction",
        kinds.BETWEEN_0_AND_1,
        "fraction of patients for validation, by hash of their id",
        _in(0.2, PRETEXT) | _in(0.15, *DOWNSTREAM),
    ),
    Key(
        "test_fraction",
        kinds.UP_TO_1,
        "fraction of patients for testing, by hash of their id; 1: all",
        _in(0.2, *DOWNSTREAM),
    ),
    Key("fold", _INTEGER, "index of the test fold of size `test_fraction`", _in(0, *DOWNSTREAM)),
    Key("split_file", kinds.optional(kinds.PATH), "`split.json` to use instead", _in(None)),
    Key(
        "channels",
        kinds.optional(kinds.PATTERNS),
        "file pattern of each channel, for cases with a file per channel",
        _in(None, PRETEXT, SEGMENTATION),
        _in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key(
        "patient_pattern",
        _COLUMN,
        "regular expression whose first group in a case id is the patient; None: from path and header",
        _in(None, PRETEXT, SEGMENTATION),
    ),
    Key(
        "include_label_maps",
        kinds.BOOLEAN,
        "use files that look like label maps as images",
        _in(False, PRETEXT),
        _in(False, PRETEXT, SEGMENTATION),
    ),
    Key(
        "max_quality_score",
        kinds.optional(kinds.POSITIVE),
        "largest image quality score, 1 (best) to 5 (worst), of scans in a data list of nnssl or OpenMind; None: all",
    ),
    Key("in_channels", _COUNT, "number of image channels"),
    Key("labels", kinds.DICTIONARY, "stored value of each label"),
    Key(
        "num_classes",
        kinds.optional(kinds.integer(2)),
        "number of classes including the background, if there is no `dataset.json`",
    ),
    Key(
        "slice_axis",
        kinds.optional(kinds.AXIS),
        "axis perpendicular to the slices of volumes",
        _in(None, SEGMENTATION),
        _in(AS_IN_TRAINING, SEGMENTATION),
    ),
    Key("resize_shorter_edge", _COUNT, "shorter edge of resized photographs, in pixels"),
    Key(
        "spacing",
        kinds.SPACING,
        "voxel size after resampling, in mm: one number, or three (RAS)",
        inference=_in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key(
        "hu_window",
        kinds.optional(kinds.RANGE),
        "CT window in HU; None: z-score normalisation",
        _in(None, PRETEXT, SEGMENTATION),
        _in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key("num_slices", _COUNT, "slices of a stack"),
    Key("slice_spacing", kinds.POSITIVE, "distance between slices, in mm"),
    Key("image_size", _COUNT, "edge of resized slices, in pixels"),
    Key("train_sizes", kinds.WIDTHS, "edges of resized training batches, in pixels"),
    Key(
        "roi_size",
        kinds.SIZE,
        "crop size, in voxels or pixels",
        _in([32, 32, 32], SEGMENTATION),
        inference=_in(AS_IN_TRAINING, SEGMENTATION, CLASSIFICATION),
    ),
    Key("patch_size", kinds.SIZE, "size of an embedded patch"),
    Key(
        "stride",
        kinds.SIZE,
        "distance between neighbouring patches",
        inference=_in("$[max(edge // 2, 1) for edge in @patch_size]", PRETEXT),
        documented_default="half of `patch_size`",
    ),
    Key(
        "per_scan",
        kinds.BOOLEAN,
        "one vector per scan, `<case>.npy` and `embeddings.csv`, instead of a map of patches",
        inference=_in(False, PRETEXT),
    ),
    Key(
        "sw_overlap",
        kinds.BELOW_1,
        "window overlap in sliding-window inference",
        _in(0.25, SEGMENTATION),
        _in(0.5, SEGMENTATION),
    ),
    Key("flip_axes", kinds.AXES, "axes flipped with probability 0.5"),
    Key("flip_prob", kinds.PROBABILITY, "probability of a flip"),
    Key("max_shift", _INTEGER, "maximum shift of the crop, in voxels"),
    Key("max_zoom", kinds.BELOW_1, "maximum relative zoom"),
    Key(
        "spatial_aug",
        kinds.PROBABILITY,
        "probability of a random rotation (up to 30°) and scaling (0.7 to 1.4)",
        _in(0.0, SEGMENTATION),
    ),
    Key(
        "intensity_aug",
        kinds.at_least(0),
        "maximum intensity shift and scaling, and noise",
        _in(0.1, SEGMENTATION),
    ),
    Key("local_contrast", kinds.BOOLEAN, "subtract the local average colour"),
    Key("class_weighting", kinds.BOOLEAN, "higher loss weights for rare classes"),
    Key(
        "cache",
        kinds.NAME,
        "cache of preprocessed images: `device`, `memory`, `disk`, `auto` (the first with enough space), `lazy` (a "
        "`disk` cache that is filled when an image is first drawn) or `none`",
        _in("auto"),
    ),
    Key(
        "cache_dir",
        kinds.PATH,
        "folder of the disk cache; several runs may use it",
        _in("$@output_dir + '/cache'"),
        documented_default="`cache` in `output_dir`",
    ),
    Key(
        "cache_dtype",
        kinds.choice("float32", "float16"),
        "type of images in `cache_dir`: `float32`, or `float16` for half the space",
        _in("float32"),
    ),
    Key(
        "prepare_workers",
        kinds.optional(_INTEGER),
        "processes that preprocess before training; None: the cores of this machine, divided by its training processes",
        _in(None),
    ),
    Key("prepare", kinds.BOOLEAN, "only preprocess into `cache_dir`, without training", _in(False)),
    Key("part", _INTEGER, "with `prepare`: index of the part of the images, from 0", _in(0)),
    Key("parts", _COUNT, "with `prepare`: number of parts, each of which may run on another machine", _in(1)),
    Key(
        "max_voxels",
        _COUNT,
        "largest image that is read, in voxels or pixels times channels, also after resampling",
        _in(MAX_VOXELS, PRETEXT, SEGMENTATION, CLASSIFICATION),
        _in(MAX_VOXELS),
    ),
    Key("skip_bad", kinds.BOOLEAN, "exclude unreadable images instead of stopping", _in(False)),
    _everywhere(
        "encoder",
        kinds.ENCODER,
        "`unet`, `resnet18`, `resenc`, `segresnet`, `swin`, …, or a name and its arguments; an unknown name lists all",
        "unet",
    ),
    _everywhere(
        "norm",
        kinds.NORM,
        "`auto` (the encoder's default), `group`, `batch`, `instance`, or a MONAI norm and its arguments",
        "auto",
    ),
    Key(
        "probe_dir",
        kinds.optional(kinds.PATH),
        "folder of labelled images for a linear probe of the encoder at every validation",
        _in(None, PRETEXT),
    ),
    Key("grid", kinds.SIZE_OR_EDGE, "cells per axis"),
    Key("gap", _INTEGER, "minimum gap between patches"),
    Key("jitter", _INTEGER, "maximum random shift of a patch in its cell"),
    Key("temperature", kinds.POSITIVE, "temperature of the softmax"),
    Key("views_per_volume", _COUNT, "views of each crop per step"),
    Key("embedding_dim", _COUNT, "embedding dimension"),
    Key(
        "head_channels",
        kinds.WIDTH_OR_WIDTHS,
        "widths of the hidden layers of the head",
        _in([], CLASSIFICATION),
        _in(AS_IN_TRAINING, CLASSIFICATION),
    ),
    Key(
        "head_dropout",
        kinds.BELOW_1,
        "dropout after each hidden layer of the head",
        _in(0.0, CLASSIFICATION),
        _in(AS_IN_TRAINING, CLASSIFICATION),
    ),
    Key("depth_pooling", kinds.NAME, "reduction of the depth axis: `center`, `mean`, `max` or `gtm`"),
    Key("fpn_channels", _COUNT, "channels of feature pyramid and heads"),
    Key("atss_num_candidates", _COUNT, "candidate locations per level in ATSS"),
    Key("ignore_iou_thresh", kinds.PROBABILITY, "IoU above which unmatched anchors are ignored"),
    Key("sampling", kinds.NAME, "`focal`, or `hard` for hard negative mining"),
    Key("batch_size_per_image", _COUNT, "sampled anchors per image with `hard`"),
    Key("positive_fraction", kinds.UP_TO_1, "fraction of positive anchors with `hard`"),
    Key("box_loss_weight", kinds.POSITIVE, "weight of the box loss"),
    Key("topk_candidates_per_level", _COUNT, "boxes per level before non-maximum suppression"),
    Key("detections_per_img", _COUNT, "maximum number of boxes per image"),
    Key("nms_thresh", kinds.PROBABILITY, "IoU threshold of non-maximum suppression"),
    Key("match_metric", kinds.NAME, "overlap measure for matches: `iou` or `iobb`"),
    Key("match_thresh", kinds.PROBABILITY, "minimum overlap of a match"),
    Key("exclude_noisy", kinds.BOOLEAN, "exclude lesions with noisy annotations from the metrics"),
    Key(
        "score_thresh",
        kinds.optional(kinds.PROBABILITY),
        "minimum score of written boxes; None: selected in validation",
    ),
    Key(
        "study_dir",
        kinds.PATH,
        "folder of the study",
        study=("$@bundle_root + '/output/study'",),
        documented_default="`output/study` in the bundle",
    ),
    Key("encoders", kinds.PATTERNS, "weights file of each initialisation, by name", study=({},)),
    Key(
        "protocols",
        kinds.list_of(kinds.NAME, "protocols"),
        "transfer protocols for the encoders",
        study=(["finetune"],),
    ),
    Key(
        "label_fractions",
        kinds.list_of(kinds.UP_TO_1, "fractions"),
        "fractions of training patients",
        study=([0.05, 0.1, 0.25, 0.5, 1.0],),
    ),
    Key("seeds", kinds.list_of(_INTEGER, "seeds"), "seeds of the runs", study=([0, 1, 2],)),
    Key("settings", kinds.SETTINGS, "settings of `train.json` for all runs", study=({},)),
    Key("config_files", kinds.NAMES,
        "configurations that override `train.json`, such as `[\"paper\"]`", study=([],)),
    Key(
        "pretrain",
        kinds.SETTINGS_OF_EACH,
        "pretext bundles to pretrain with, by name, and their settings; `bundle` if the name is another, `pretrained` "
        "to continue from a name in `encoders`",
        study=({},),
    ),
    Key("pretrain_dir", kinds.optional(kinds.PATH), "pretraining data; None: `dataset_dir`", study=(None,)),
    Key("pretrain_settings", kinds.SETTINGS, "settings for all pretext bundles", study=({},)),
    Key("pretrain_steps", kinds.optional(_COUNT), "optimizer steps of each pretraining run", study=(None,)),
    Key("jobs", _COUNT, "number of parallel runs", study=(1,)),
    Key("keep_models", kinds.BOOLEAN, "keep the networks of all runs", study=(False,)),
)  # fmt: skip

#: shared keys by name
REGISTRY: dict[str, Key] = {key.name: key for key in KEYS}


def sort_keys(values: Mapping[str, Any], registry: Mapping[str, Key]) -> dict[str, Any]:
    """Return values by key, sorted in the order of a registry.

    Raises:
        InputError: if a key is not registered.
    """
    for name in values:
        check_choice(name, registry, "key of a bundle")
    order = {name: index for index, name in enumerate(registry)}
    return {name: values[name] for name in sorted(values, key=order.__getitem__)}


def train_defaults(family: str) -> dict[str, Any]:
    """Return the keys that every ``train.json`` of a family has, with their defaults."""
    return {key.name: key.train[family] for key in KEYS if family in key.train}


def inference_defaults(family: str, train: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that every ``inference.json`` of a family has, with their defaults.

    Args:
        family: one of `FAMILIES`.
        train: keys of the bundle's ``train.json`` with their values, for `AS_IN_TRAINING`.
    """
    found = {key.name: key.inference[family] for key in KEYS if family in key.inference}
    return {name: train[name] if value == AS_IN_TRAINING else value for name, value in found.items()}


def study_defaults() -> dict[str, Any]:
    """Return the keys of ``study.json`` with their defaults."""
    return {key.name: key.study[0] for key in KEYS if key.study}
