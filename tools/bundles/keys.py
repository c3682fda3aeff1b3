"""Registry of the configuration keys that bundles share: kind of value, meaning, and default by family.

A bundle's own file adds the keys that no other bundle has, and other defaults; see `tools.bundles.bundle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.bundles import kinds
from tools.bundles.kinds import Kind
from tools.utils.errors import check_choice

PRETEXT, SEGMENTATION, CLASSIFICATION, DETECTION = FAMILIES = ("pretext", "segmentation", "classification", "detection")
DOWNSTREAM = (SEGMENTATION, CLASSIFICATION, DETECTION)

#: default of a key of ``inference.json`` that has the value of ``train.json``
AS_IN_TRAINING = "as in training"


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Attributes:
        name: top-level key of the configuration files.
        kind: values it accepts.
        text: meaning, on one line.
        train: default in ``train.json`` by family; a family that is missing here does not have the key, unless a
            bundle adds it.
        inference: the same for ``inference.json``.
        study: default in ``study.json``, as a tuple of one value.
        shown: default in documentation, where it is an expression.
    """

    name: str
    kind: Kind
    text: str
    train: Mapping[str, Any] = field(default_factory=dict)
    inference: Mapping[str, Any] = field(default_factory=dict)
    study: tuple[Any, ...] = ()
    shown: str = ""


def _in(value: Any, *families: str) -> dict[str, Any]:
    """One default for some families; for all without any."""
    return dict.fromkeys(families or FAMILIES, value)


def _everywhere(name: str, kind: Kind, text: str, default: Any, shown: str = "") -> Key:
    return Key(name, kind, text, _in(default), _in(AS_IN_TRAINING), shown=shown)


_COLUMN = kinds.optional(kinds.NAME)
_INTEGER, _COUNT = kinds.integer(0), kinds.integer(1)

KEYS: tuple[Key, ...] = (
    Key("dataset_dir", kinds.PATH, "folder of the data", study=(None,), shown="generated data"),
    Key("annotations", kinds.optional(kinds.PATH), "table of lesions, JSON file or folder of such; None: found"),
    Key("label_file", kinds.optional(kinds.PATH), "table of labels; None: found in `dataset_dir`"),
    Key("image_column", _COLUMN, "column of file names in the table; None: found by name"),
    Key("label_column", _COLUMN, "column of labels in the table; None: found by name"),
    Key("patient_column", _COLUMN, "column of patients in the table; None: found by name"),
    Key(
        "models_dir",
        kinds.PATH,
        "folder of the weights",
        _in("$@bundle_root + '/models'"),
        _in(AS_IN_TRAINING, *DOWNSTREAM),
        shown="`models` in the bundle",
    ),
    Key(
        "output_dir",
        kinds.PATH,
        "folder of tables and figures",
        _in("$@bundle_root + '/output'"),
        shown="in `output` of the bundle",
    ),
    _everywhere(
        "device",
        kinds.DEVICE,
        "device of the network",
        "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "CUDA or CPU",
    ),
    _everywhere("amp", kinds.SWITCH, "mixed precision", "$torch.device(@device).type == 'cuda'", "on CUDA"),
    _everywhere("amp_dtype", kinds.choice("bfloat16", "float16"), "`bfloat16` or `float16`", "bfloat16"),
    Key("channels_last", kinds.SWITCH, "memory format with channels innermost", _in(True)),
    Key("compile", kinds.SWITCH, "`torch.compile`; needs a C++ compiler and minutes to start", _in(False)),
    Key("fused", kinds.SWITCH, "fused optimizer", _in(True)),
    Key("seed", _INTEGER, "seed of everything random", _in(0)),
    Key("deterministic", kinds.SWITCH, "deterministic algorithms where torch has them", _in(False)),
    Key(
        "resume",
        kinds.SWITCH,
        "continue from `checkpoint.pt`; only learning rate, weight decay and length may differ",
        _in(False),
    ),
    Key("dry_run", kinds.SWITCH, "check data and settings without training", _in(False)),
    Key(
        "pretrained",
        kinds.optional(kinds.PATH),
        "weights to start from: `model.pt`, a file of another project, or `hf://owner/name/file`",
        _in(None),
        _in("$@bundle_root + '/models/model.pt'", PRETEXT),
        shown="None; in inference the bundle's own",
    ),
    Key(
        "protocol",
        kinds.NAME,
        "what trains: `scratch`, `finetune`, `freeze_then_finetune`, `frozen` or `linear`",
        _in("$'finetune' if @pretrained else 'scratch'", *DOWNSTREAM),
        _in("finetune", SEGMENTATION),
        shown="`finetune` with `pretrained`, else `scratch`",
    ),
    Key("freeze_epochs", _INTEGER, "epochs with a frozen encoder under `freeze_then_finetune`", _in(2, *DOWNSTREAM)),
    Key(
        "allow_test_leakage",
        kinds.SWITCH,
        "continue although test cases were used in pretraining or training",
        _in(False, *DOWNSTREAM),
    ),
    Key("label_fraction", kinds.UP_TO_1, "fraction of the training patients that is used", _in(1.0, *DOWNSTREAM)),
    Key("epochs", _COUNT, "length of the run", _in(10, PRETEXT, CLASSIFICATION) | {SEGMENTATION: 24, DETECTION: 8}),
    Key("steps_per_epoch", _COUNT, "steps in an epoch, whatever the number of cases", _in(10) | {CLASSIFICATION: 20}),
    Key("batch_size", _COUNT, "cases per step and process", _in(4) | {CLASSIFICATION: 16}),
    Key("num_samples", _COUNT, "crops cut from each case of a batch", _in(1, SEGMENTATION)),
    Key(
        "global_batch_size",
        _COUNT,
        "images per optimizer update over all processes; scales the learning rate",
    ),
    Key("accumulation_steps", _COUNT, "steps per optimizer update, a divisor of `steps_per_epoch`", _in(1)),
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
    Key("max_grad_norm", kinds.POSITIVE, "longer gradients are scaled to this norm"),
    Key("label_smoothing", kinds.BELOW_1, "label smoothing of the cross-entropy"),
    _everywhere("num_workers", _INTEGER, "loader processes; cached data needs none", 0),
    Key("val_interval", _COUNT, "epochs between validations",
        _in(1, PRETEXT) | _in(2, CLASSIFICATION, DETECTION) | {SEGMENTATION: "$min(4, @train#trainer#max_epochs)"}),
    Key("val_steps", _COUNT, "batches in a validation", _in(4, PRETEXT)),
    Key("split_by", kinds.NAME, "`patient`, `published` or `auto`: the official split where there is one"),
    Key(
        "val_fraction",
        kinds.BETWEEN_0_AND_1,
        "fraction of the patients that validates, by hash of their id",
        _in(0.2, PRETEXT) | _in(0.15, *DOWNSTREAM),
    ),
    Key(
        "test_fraction",
        kinds.UP_TO_1,
        "fraction of the patients that tests, by hash of their id; 1 tests on all",
        _in(0.2, *DOWNSTREAM),
    ),
    Key("fold", _INTEGER, "which fold of `test_fraction` tests", _in(0, *DOWNSTREAM)),
    Key("split_file", kinds.optional(kinds.PATH), "`split.json` to follow instead", _in(None)),
    Key(
        "channels",
        kinds.optional(kinds.PATTERNS),
        "channel name to file pattern, where files of a case lie apart",
        _in(None, PRETEXT, SEGMENTATION),
        _in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key(
        "patient_pattern",
        _COLUMN,
        "regular expression whose first group in a case id is the patient; None: told from path and header",
        _in(None, PRETEXT, SEGMENTATION),
    ),
    Key(
        "include_label_maps",
        kinds.SWITCH,
        "use files that look like label maps as images",
        _in(False, PRETEXT),
        _in(False, PRETEXT, SEGMENTATION),
    ),
    Key("in_channels", _COUNT, "channels of an image"),
    Key("labels", kinds.DICTIONARY, "name of each label to its value in files"),
    Key(
        "num_classes",
        kinds.optional(kinds.integer(2)),
        "number of classes with the background, where no `dataset.json` names them",
    ),
    Key(
        "slice_axis",
        kinds.optional(kinds.AXIS),
        "axis across which volumes are cut into slices",
        _in(None, SEGMENTATION),
        _in(AS_IN_TRAINING, SEGMENTATION),
    ),
    Key("resize_shorter_edge", _COUNT, "shorter edge that photographs are resized to, in pixels"),
    Key(
        "spacing",
        kinds.SPACING,
        "voxel size after resampling, in mm: one number, or three (RAS)",
        inference=_in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key(
        "hu_window",
        kinds.optional(kinds.RANGE),
        "CT window in HU; None: z-scores",
        _in(None, PRETEXT, SEGMENTATION),
        _in(AS_IN_TRAINING, PRETEXT, SEGMENTATION),
    ),
    Key("num_slices", _COUNT, "slices of a stack"),
    Key("slice_spacing", kinds.POSITIVE, "distance of the slices, in mm"),
    Key("image_size", _COUNT, "edge that slices are scaled to, in pixels"),
    Key("train_sizes", kinds.WIDTHS, "edges that training batches are scaled to, in pixels"),
    Key(
        "roi_size",
        kinds.SIZE,
        "edges of a crop, in voxels or pixels",
        _in([32, 32, 32], SEGMENTATION),
        inference=_in(AS_IN_TRAINING, SEGMENTATION, CLASSIFICATION),
    ),
    Key("patch_size", kinds.SIZE, "edges of a patch that is embedded"),
    Key(
        "stride",
        kinds.SIZE,
        "distance of neighbouring patches",
        inference=_in("$[max(edge // 2, 1) for edge in @patch_size]", PRETEXT),
        shown="half of `patch_size`",
    ),
    Key(
        "sw_overlap",
        kinds.BELOW_1,
        "overlap of the windows of sliding-window inference",
        _in(0.25, SEGMENTATION),
        _in(0.5, SEGMENTATION),
    ),
    Key("flip_axes", kinds.AXES, "axes flipped with probability 0.5"),
    Key("flip_prob", kinds.PROBABILITY, "probability of a flip"),
    Key("max_shift", _INTEGER, "largest shift of the crop, in voxels"),
    Key("max_zoom", kinds.BELOW_1, "largest relative zoom in training"),
    Key(
        "intensity_aug",
        kinds.at_least(0),
        "largest shift, relative change and noise of intensities",
        _in(0.1, SEGMENTATION),
    ),
    Key("local_contrast", kinds.SWITCH, "subtract the local average colour"),
    Key("class_weighting", kinds.SWITCH, "rare classes weigh more in the loss"),
    Key(
        "cache",
        kinds.NAME,
        "where prepared images are kept: `device`, `memory`, `disk`, `auto` (the first with room) or `none`",
        _in("auto"),
    ),
    Key(
        "cache_dir",
        kinds.PATH,
        "folder of the disk cache; runs may share it",
        _in("$@output_dir + '/cache'"),
        shown="`cache` in `output_dir`",
    ),
    Key("skip_bad", kinds.SWITCH, "exclude unreadable images instead of stopping", _in(False)),
    _everywhere(
        "encoder",
        kinds.ENCODER,
        "`unet`, `resnet18`, `resenc`, `segresnet`, `swin`, …; any other name lists all; or a name and its options",
        "unet",
    ),
    _everywhere(
        "norm",
        kinds.NORM,
        "`auto` (the encoder's own), `group`, `batch`, `instance`, or a name of MONAI's and its options",
        "auto",
    ),
    Key(
        "probe_dir",
        kinds.optional(kinds.PATH),
        "folder of a few labelled images; every validation then scores a linear classifier on the encoder's features",
        _in(None, PRETEXT),
    ),
    Key("grid", kinds.SIZE_OR_EDGE, "cells along each axis"),
    Key("gap", _INTEGER, "smallest gap between patches"),
    Key("jitter", _INTEGER, "largest random shift of a patch in its cell"),
    Key("temperature", kinds.POSITIVE, "temperature of the softmax"),
    Key("views_per_volume", _COUNT, "views of each crop in a step"),
    Key("embedding_dim", _COUNT, "channels of an embedding"),
    Key(
        "head_channels",
        kinds.WIDTH_OR_WIDTHS,
        "widths of the head's hidden layers",
        _in([], CLASSIFICATION),
        _in(AS_IN_TRAINING, CLASSIFICATION),
    ),
    Key(
        "head_dropout",
        kinds.BELOW_1,
        "dropout after each of them",
        _in(0.0, CLASSIFICATION),
        _in(AS_IN_TRAINING, CLASSIFICATION),
    ),
    Key("depth_pooling", kinds.NAME, "how depth is reduced: `center`, `mean`, `max` or `gtm`"),
    Key("fpn_channels", _COUNT, "channels of pyramid and heads"),
    Key("atss_num_candidates", _COUNT, "candidates per level of ATSS"),
    Key("ignore_iou_thresh", kinds.PROBABILITY, "IoU above which unmatched anchors are ignored"),
    Key("sampling", kinds.NAME, "`focal`, or `hard` for hard negative mining"),
    Key("batch_size_per_image", _COUNT, "anchors per image under `hard`"),
    Key("positive_fraction", kinds.UP_TO_1, "fraction of matched ones among them"),
    Key("box_loss_weight", kinds.POSITIVE, "weight of the box loss"),
    Key("topk_candidates_per_level", _COUNT, "boxes per level before non-maximum suppression"),
    Key("detections_per_img", _COUNT, "boxes per image after it"),
    Key("nms_thresh", kinds.PROBABILITY, "IoU that suppresses a box"),
    Key("match_metric", kinds.NAME, "`iou` or `iobb`: overlap that counts a lesion as found"),
    Key("match_thresh", kinds.PROBABILITY, "smallest value of `match_metric` that counts"),
    Key("exclude_noisy", kinds.SWITCH, "ignore lesions flagged as noisy in the score"),
    Key("score_thresh", kinds.optional(kinds.PROBABILITY), "lowest score of a written box; None: chosen in validation"),
    Key(
        "study_dir",
        kinds.PATH,
        "folder of the study",
        study=("$@bundle_root + '/output/study'",),
        shown="`output/study` in the bundle",
    ),
    Key("encoders", kinds.PATTERNS, "weights files by the name that figures show", study=({},)),
    Key("protocols", kinds.list_of(kinds.NAME, "protocols"), "what trains from an encoder", study=(["finetune"],)),
    Key(
        "label_fractions",
        kinds.list_of(kinds.UP_TO_1, "fractions"),
        "fractions of the training patients",
        study=([0.05, 0.1, 0.25, 0.5, 1.0],),
    ),
    Key("seeds", kinds.list_of(_INTEGER, "seeds"), "seeds of the runs", study=([0, 1, 2],)),
    Key("settings", kinds.SETTINGS, "keys of `train.json` for every run", study=({},)),
    Key("config_files", kinds.WORDS,
        "configurations laid over `train.json`, such as `[\"paper\"]`", study=([],)),
    Key(
        "pretrain",
        kinds.SETTINGS_OF_EACH,
        "pretext bundles to train first, by name, and their settings; `bundle` if the name is another, `pretrained` "
        "to continue from a name in `encoders`",
        study=({},),
    ),
    Key("pretrain_dir", kinds.optional(kinds.PATH), "data of the pretraining; None: `dataset_dir`", study=(None,)),
    Key("pretrain_settings", kinds.SETTINGS, "settings of all pretext bundles", study=({},)),
    Key("pretrain_steps", kinds.optional(_COUNT), "optimizer steps of each pretraining", study=(None,)),
    Key("jobs", _COUNT, "runs at a time", study=(1,)),
    Key("keep_models", kinds.SWITCH, "keep the networks of all runs", study=(False,)),
    Key("dry_run", kinds.SWITCH, "print the plan without training", study=(False,)),
)  # fmt: skip

#: keys that several bundles share, by name
REGISTRY: dict[str, Key] = {key.name: key for key in KEYS}


def sort_keys(values: Mapping[str, Any], registry: Mapping[str, Key]) -> dict[str, Any]:
    """Values by key, in the order of a registry.

    Raises:
        InputError: for a key that is not registered.
    """
    for name in values:
        check_choice(name, registry, "key of a bundle")
    order = {name: place for place, name in enumerate(registry)}
    return {name: values[name] for name in sorted(values, key=order.__getitem__)}


def train_defaults(family: str) -> dict[str, Any]:
    """Keys that every ``train.json`` of a family has, with their defaults."""
    return {key.name: key.train[family] for key in KEYS if family in key.train}


def inference_defaults(family: str, train: Mapping[str, Any]) -> dict[str, Any]:
    """Keys that every ``inference.json`` of a family has, with their defaults.

    Args:
        family: one of `FAMILIES`.
        train: keys of the bundle's ``train.json``, whose values some have.
    """
    found = {key.name: key.inference[family] for key in KEYS if family in key.inference}
    return {name: train[name] if value == AS_IN_TRAINING else value for name, value in found.items()}


def study_defaults() -> dict[str, Any]:
    """Keys of ``study.json`` with their defaults."""
    return {key.name: key.study[0] for key in KEYS if key.study}
