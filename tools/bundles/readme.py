"""Generated sections of a bundle's README, and the reference of all its keys.

A README holds each generated section between two comments, ``<!-- generated: NAME -->`` and ``<!-- end -->``; the text
around them is written by hand.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from tools.bundles.bundle import Bundle
from tools.bundles.keys import PRETEXT, SEGMENTATION, Key, study_defaults, train_defaults
from tools.bundles.pretext import Pretext
from tools.utils.errors import InputError

SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
VOLUMES = (
    "`dataset_dir` is any folder tree of NIfTI, NRRD, MHA (`pip install itk`) or DICOM volumes, or a Decathlon, "
    "nnU-Net, BraTS or BIDS folder. `--channels \"{'T1':'*_t1.nii.gz','FLAIR':'*_flair.nii.gz'}\"` joins the files of "
    "a case. Label maps are excluded (`include_label_maps`). Volumes are turned to RAS, resampled to `spacing`, "
    'cropped to their foreground and standardised, or windowed with `--hu_window "[-1024,1050]"`. Volumes smaller than '
    "the crop are padded by reflection."
)
PICTURES = (
    "`dataset_dir` is any folder tree of PNG, JPEG, TIFF or BMP images; with `--slice_axis 2`, of NIfTI, NRRD, MHA "
    "(`pip install itk`) or DICOM volumes, whose axial slices are drawn at random (0: sagittal, 1: coronal). Both eyes "
    "of a person stay in one split; files named like masks are excluded. Photographs are scaled by their shorter edge "
    "(`resize_shorter_edge`), volumes turned to RAS and resampled to `spacing`. Both are standardised; "
    '`--hu_window "[-1024,1050]"` windows CT instead.'
)
RUN = "python -m monai.bundle run --config_file"


def fill_readme(bundle: Bundle, text: str) -> str:
    """README with its generated sections filled in.

    Args:
        bundle: the bundle.
        text: present README.

    Raises:
        InputError: a section that the bundle lacks or that does not exist.
    """
    found = [match[2] for match in SECTION.finditer(text)]
    expected = [name for name, section in SECTIONS.items() if section(bundle)]
    if sorted(found) != sorted(expected):
        raise InputError(f"bundles/{bundle.name}/docs/README.md: expected the sections {expected}, found {found}")
    return SECTION.sub(lambda match: f"{match[1]}{SECTIONS[match[2]](bundle)}{match[3]}", text)


def empty_readme(bundle: Bundle) -> str:
    """README of a new bundle, with its generated sections and nothing else."""
    sections = (
        f"## {name.capitalize()}\n<!-- generated: {name} -->\n<!-- end -->\n"
        for name, section in SECTIONS.items()
        if section(bundle)
    )
    return "\n".join([f"# {bundle.name}\n", *sections])


def key_reference(bundle: Bundle) -> str:
    """All keys of a bundle with their defaults, as Markdown."""
    text = (
        f"Written by `python -m tools.bundles` from `tools/bundles/collection/{bundle.name}.py`. Every key is an "
        "override on the command line, such as `--epochs 100`; `None` is written `'$None'`. In evaluation and "
        "inference, values that `model.json` records come before these defaults."
    )
    parts = [
        f"# Keys of {bundle.name}\n",
        _paragraph(text),
        "## train.json, evaluate.json\n" + _table(bundle, {"dataset_dir": "$", **bundle.train_keys}),
        "## inference.json\n" + _table(bundle, {"dataset_dir": "$", **bundle.infer_keys}),
    ]
    if "study" in bundle.configs():
        parts.append("## study.json\n" + _table(bundle, study_defaults()))
    return "\n".join(parts)


def _table(bundle: Bundle, values: Mapping[str, Any]) -> str:
    keys = bundle.registry
    rows = (f"| `{name}` | {_shown(keys[name], value)} | {keys[name].text} |" for name, value in values.items())
    return _lines("| key | default | meaning |", "|---|---|---|", *rows)


def _shown(key: Key, value: Any) -> str:
    """A default as a reader would type it, or what the registry shows for an expression."""
    if isinstance(value, str) and value.startswith("$"):
        return key.shown or f"`{value[1:].replace('@', '')}`"
    return f"`{value if isinstance(value, (str, bool, type(None))) else json.dumps(value)}`"


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False) + "\n"


def _lines(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def _code(*lines: str) -> str:
    return _lines("```", *lines, "```")


def _files(name: str, *files: str) -> str:
    paths = [f"bundles/{name}/configs/{file}.json" for file in files]
    return paths[0] if len(paths) == 1 else '"[' + ",".join(f"'{path}'" for path in paths) + ']"'


def _run(bundle: Bundle) -> str:
    name = bundle.name
    inference = "write embeddings of patches" if bundle.family == PRETEXT else "write predictions"
    several = _files(name, "train", "multi_gpu_train")
    rows = {
        "your data, checked first": "`--dataset_dir /data/… --dry_run True`",
        "a killed run": "`--resume True`",
        "the paper's settings": f"`--config_file {_files(name, 'train', 'paper')}`",
        "two GPUs": f"`torchrun --nproc_per_node 2 -m monai.bundle run --config_file {several}`",
    }
    if bundle.family == SEGMENTATION:
        rows["slices and a 2D network"] = f"`--config_file {_files(name, 'train', 'slices')}`"
    if bundle.family != PRETEXT:
        rows["a pretrained encoder, few labels"] = "`--pretrained …/model.pt --label_fraction 0.1`"
        rows["all cases of another folder"] = "evaluate with `--dataset_dir /data/… --test_fraction 1`"
    commands = [_files(name, *files) for files in (("train",), ("train", "evaluate"), ("inference",))]
    text = f"These train on generated data, evaluate, and {inference}. Elsewhere, use absolute paths."
    return "\n".join(
        [
            _code(*(f"{RUN} {files}" for files in commands)),
            _paragraph(text),
            _lines("| for | add |", "|---|---|", *(f"| {what} | {how} |" for what, how in rows.items())),
        ]
    )


def _keys(bundle: Bundle) -> str:
    family = train_defaults(bundle.family)
    own = {name: value for name, value in bundle.train_keys.items() if name not in family}
    return _table(bundle, own) + "\nAll keys: [keys.md](keys.md).\n"


def _data(bundle: Bundle) -> str:
    if not isinstance(bundle, Pretext):
        return ""
    return _paragraph(PICTURES if bundle.flat else VOLUMES)


def _output(bundle: Bundle) -> str:
    what = "encoder" if bundle.family == PRETEXT else "network"
    rows = [
        f"| `models/model.pt`, `model.json` | best {what} (state dict), its card: architecture, data, voxel hashes |",
        "| `models/checkpoint.pt` | for `--resume True` |",
        "| `output/metrics.csv`, `curves.png`, `tensorboard/`, `split.json` | scores and speed per epoch; the split |",
        "| `output/evaluation.json` | test scores, 95 % bootstrap intervals over cases |",
    ]
    if bundle.family == PRETEXT:
        rows.append("| `output/embeddings/<case>.npz`, `.png` | embeddings, and their principal components |")
    return _lines("| file | content |", "|---|---|", *rows)


def _study(bundle: Bundle) -> str:
    if bundle.family == PRETEXT:
        return ""
    pretext = "rotation2d" if len(bundle.train_keys.get("roi_size", "DHW")) == 2 else "rotation3d"
    encoders = f"\"{{'{pretext}':'bundles/{pretext}/models/model.pt'}}\""
    text = (
        "This trains and tests every initialisation with growing fractions of the labels and several seeds, on equal "
        "terms, and continues when called again. `output/study/report.md` has scores with intervals, paired "
        "differences and annotation efficiency. Keys: [keys.md](keys.md)."
    )
    command = f"{RUN} {_files(bundle.name, 'study')} --dataset_dir /data/… --encoders {encoders}"
    return "\n".join([_code(command), _paragraph(text)])


def _transfer(bundle: Bundle) -> str:
    if bundle.family == PRETEXT:
        return ""
    text = (
        "`--pretrained` takes the `model.pt` of a pretext bundle with the same `encoder` and `norm`. A table reports "
        "each loaded tensor; differences in spacing, intensity or channels are warnings. Loading fails if a test image "
        "(compared by voxel hash) was used for pretraining. `--protocol` is `scratch` or `finetune` (everything "
        "trains, without or with an encoder), `freeze_then_finetune` (decoder or head for `freeze_epochs`, then all), "
        "`frozen` (decoder or head) or `linear` (a linear map of the frozen features)."
    )
    return _paragraph(text)


#: function that writes each section; an empty text where a bundle has none
SECTIONS: dict[str, Callable[[Bundle], str]] = {
    "run": _run,
    "data": _data,
    "transfer": _transfer,
    "study": _study,
    "output": _output,
    "keys": _keys,
}
