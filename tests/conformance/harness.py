"""Shared code of the bundle tests: list of bundles, tiny data and tiny runs."""

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from pydoc import locate
from tempfile import TemporaryDirectory
from unittest.mock import patch

import nibabel
import numpy as np
import pytest
import torch
from extra_methods import byol, thumbnail
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from tools.bundles.generate import generate
from tools.pretext.task import PretextTask
from tools.training.checkpoint import Checkpoint
from tools.training.throttled_figure import ThrottledFigure

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/train.json"))
#: bundles of methods that are only used in tests, written to a temporary folder
EXTRA = {bundle.name: bundle for module in (byol, thumbnail) for bundle in module.BUNDLES}
_EXTRA_ROOT = TemporaryDirectory()
for _path, _text in (pair for bundle in EXTRA.values() for pair in generate(bundle, ROOT).items()):
    (Path(_EXTRA_ROOT.name) / _path).parent.mkdir(parents=True, exist_ok=True)
    (Path(_EXTRA_ROOT.name) / _path).write_text(_text, encoding="utf-8")


def home(bundle):
    """Folder of a bundle."""
    return (Path(_EXTRA_ROOT.name) if bundle in EXTRA else ROOT) / "bundles" / bundle


def config(bundle, name):
    return str(home(bundle) / "configs" / f"{name}.json")


def read(bundle, name):
    with open(config(bundle, name)) as file:
        return json.load(file)


DOWNSTREAM = [bundle for bundle in BUNDLES if "protocol" in read(bundle, "train")]
#: supervised pretraining on photographs
SUPERVISED = [bundle for bundle in BUNDLES if "classes" in read(bundle, "train")]
PRETEXT = [bundle for bundle in [*BUNDLES, *EXTRA] if bundle not in DOWNSTREAM + SUPERVISED]
#: networks that return lists of maps
DETECTION = [bundle for bundle in DOWNSTREAM if "detector" in read(bundle, "train")]
#: hippocampus differs from pancreas in defaults and is in the tests of all bundles
SEGMENTATION = [b for b in DOWNSTREAM if "label_manager" in read(b, "train") and b != "hippocampus"]
#: one bundle per kind of data; the others are generated from the same family
SOME = ["cpc3d", "exemplar2d"]
#: without the 3D bundles of methods that are here in 2D, and without hippocampus
DISTINCT = [b for b in [*BUNDLES, *EXTRA] if b not in PRETEXT or b.endswith("2d") or b in SOME]
DISTINCT.remove("hippocampus")

SMALL_HEAD = {"embedding_dim": 16, "head_channels": [16], "head_dropout": 0.5}
CPC = {"negatives_same_volume": 3, "negatives_other_volumes": 4, "embedding_dim": 16, "context_dim": 16}
EXEMPLAR = {"embedding_dim": 16, "head_channels": 16, "queue_size": 6, "val_fraction": 0.4}
CROPS = {"spacing": 2.0, "roi_size": [32, 32, 32], "freeze_epochs": 1, "val_interval": 1}
STACKS = {"image_size": 64, "num_slices": 3, "train_sizes": [64]}


def method(roi_3d, roi_2d, **settings):
    """Overrides that make the 3D and the 2D bundle of a pretext method tiny."""
    return {"3d": {"spacing": 2.0, "roi_size": roi_3d, **settings}, "2d": {"roi_size": roi_2d, **settings}}


#: tiny settings of the pretext methods; a new method is one more line
METHODS = {
    "cpc": method([48, 48, 48], [48, 48], grid=3, **CPC),
    "rpl": method([51, 51, 51], [51, 51], jitter=0, gap=1, views_per_volume=3, **SMALL_HEAD),
    "jigsaw": method([51, 51, 51], [51, 51], jitter=0, gap=1, views_per_volume=3, **SMALL_HEAD),
    "rotation": method([20, 18, 16], [32, 30], views_per_volume=3, **SMALL_HEAD),
    "exemplar": method([16, 18, 16], [32, 30], **EXEMPLAR),
    "mae": method([16, 24, 16], [32, 48], mask_patch_size=8, embedding_dim=8),
    "byol": method([16, 18, 16], [32, 30], embedding_dim=8),
    "thumbnail": method([16, 16, 16], [32, 32], embedding_dim=8),
}
#: overrides that make a bundle's run tiny; a new bundle of another kind is one more line
TINY = {f"{name}{dims}": settings for name, made in METHODS.items() for dims, settings in made.items()} | {
    "brats": CROPS,
    "pancreas": CROPS,
    "hippocampus": CROPS,
    "fundus": {"roi_size": [32, 32], "freeze_epochs": 1, "val_interval": 1},
    "lidc": {"roi_size": [16, 16, 16], "freeze_epochs": 1, "val_interval": 1},
    "deeplesion": {**STACKS, "freeze_epochs": 1, "val_interval": 1},
    "vdt3d": {"roi_size": [24, 24]},
}
COMMON = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "lr_warmup_epochs": 0}
QUESTIONS = {"val_steps": 1}
PICTURES = {"resize_shorter_edge": 54}


def write_scans(folder, num_cases=5, edge=52):
    """Smooth random volumes as NIfTI."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in range(num_cases):
        voxels = (smooth(case, (edge,) * 3)[0] * 1000).numpy().astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), folder / f"scan_{case}.nii.gz")
    return folder


def write_images(folder, num_cases=5, size=(70, 64)):
    """Smooth random colour images as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in range(num_cases):
        pixels = (smooth(case, size, channels=3) * 240).numpy().astype(np.uint8)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"scan_{case}.png")
    return folder


#: labels and modalities of the segmentation bundles
STRUCTURES = {
    "brats": (("edema", "non-enhancing tumor", "enhancing tumour"), ("FLAIR", "T1w", "t1gd", "T2w")),
    "hippocampus": (("anterior", "posterior"), ("MRI",)),
    "pancreas": (("pancreas", "cancer"), ("CT",)),
}


def write_segmentation(bundle, folder, num_cases=7, size=(40, 32, 32)):
    """A Decathlon folder of smooth volumes whose brightest voxels are the structures, each two windows of `CROPS`."""
    labels, modalities = STRUCTURES[bundle]
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    pairs = []
    for case in range(num_cases):
        volume = smooth(case, size, channels=len(modalities)).movedim(0, -1).squeeze(-1).numpy()
        first = volume if volume.ndim == 3 else volume[..., 0]
        truth = np.digitize(first, np.linspace(0.65, 0.8, len(labels))).astype(np.uint8)
        pair = {"image": f"./imagesTr/case_{case}.nii.gz", "label": f"./labelsTr/case_{case}.nii.gz"}
        affine = np.diag([-2.0, 2, 2, 1])
        nibabel.save(nibabel.Nifti1Image((volume * 200 - 100).astype(np.int16), affine), folder / pair["image"])
        nibabel.save(nibabel.Nifti1Image(truth, affine), folder / pair["label"])
        pairs.append(pair)
    content = {
        "name": bundle,
        "modality": {str(i): name for i, name in enumerate(modalities)},
        "labels": {str(i): name for i, name in enumerate(("background", *labels))},
        "training": pairs,
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_fundus(folder, num_patients=10):
    """Bright discs with one dark spot per grade, both eyes of each patient, in EyePACS layout."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,level"]
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(80) - 39.5, indexing="ij")
    for patient in range(num_patients):
        for side in ("left", "right"):
            grade = patient % 5
            image = ((x**2 + y**2) < 28**2) * (150 + 60 * smooth(2 * patient + len(side), (64, 80), channels=3))
            for spot in range(grade):
                image[:, 20 + 6 * spot : 23 + 6 * spot, 30:40] = 40
            name = f"{patient}_{side}"
            Image.fromarray(image.numpy().astype(np.uint8).transpose(1, 2, 0)).save(folder / f"{name}.png")
            lines.append(f"{name},{grade}")
    (folder / "trainLabels.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_nodules(folder, num_patients=14):
    """Bright balls in noise, the malignant ones large, two of each patient, in the layout of the published crops."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["index,uid,malignancy_mode"]
    z, y, x = torch.meshgrid(*[torch.arange(20) - 9.5] * 3, indexing="ij")
    for patient in range(num_patients):
        for roi in (1, 2):
            malignancy = ((1, 5), (4, 2))[patient % 2][roi - 1]
            ball = z**2 + y**2 + x**2 < (malignancy + 2) ** 2
            voxels = (ball * 120 + 100 * smooth(2 * patient + roi, (20,) * 3)[0]).numpy().astype(np.uint8)
            np.savez_compressed(folder / f"lidc{patient + 1}_{roi}.npz", voxel=voxels)
            lines.append(f"lidc{patient + 1}_{roi},patient_{patient},{malignancy}")
    (folder / "nodules.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_lesions(folder, num_patients=12):
    """Bright discs in noise that end within three slices, in DeepLesion's layout; patient 3 has two in one slice."""
    lines = ["File_name,Key_slice_index,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,Slice_range,"]
    lines[0] += "Spacing_mm_px_,Image_size,Train_Val_Test"
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for patient in range(1, num_patients + 1):
        place, part = f"{patient:06d}_01_01", 3 if patient % 4 == 0 else 2 if patient % 4 == 3 else 1
        (folder / "Images_png" / place).mkdir(parents=True)
        lesions = [(16 + 2 * patient, 40)] + [(44, 14)] * (patient == 3)
        stack = 32768 - 100 + 60 * smooth(patient, (5, 64, 64))[0]
        for column, row in lesions:
            stack[1:4] += 300 * ((x - column) ** 2 + (y - row) ** 2 < 8**2)
            box = f'"{column - 12}, {row - 12}, {column + 14}, {row + 14}"'  # counted from 1, 5 pixels around
            where = f'"8, 12","0.8, 0.8, 2.5","64, 64",{part}'
            lines.append(f"{place}_010.png,10,{box},{patient % 8 + 1},{int(patient == 4)},{where}")
        for number, pixels in enumerate(stack.numpy().astype(np.uint16), 8):
            Image.fromarray(pixels).save(folder / "Images_png" / place / f"{number:03d}.png")
    (folder / "DL_info.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_classes(folder, num_images=8):
    """Stripes along one axis or the other, in any colours."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(36), indexing="ij")
    for name, along in (("across", y), ("upright", x)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(num_images):
            colours = torch.randint(0, 255, (2, 3), generator=torch.Generator().manual_seed(number))
            pixels = colours[(along // 4) % 2].numpy().astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def smooth(seed, size, channels=1):
    """Smooth noise (channels, *size) between 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, *[9] * len(size), generator=generator)
    mode = "trilinear" if len(size) == 3 else "bilinear"
    fine = torch.nn.functional.interpolate(coarse, size, mode=mode)[0]
    return 0.95 * fine + 0.05 * torch.rand(fine.shape, generator=generator)


def data_kind(bundle):
    """Kind of training data: scans, photographs, or the name of the bundle."""
    return {3: "scans", 2: "photographs"}[dims(bundle)] if bundle in PRETEXT else bundle


def write_data(bundle, folder, num_cases=5):
    """Tiny data of a bundle's kind."""
    if data_kind(bundle) in STRUCTURES:
        return write_segmentation(bundle, folder)
    own = {"fundus": write_fundus, "lidc": write_nodules, "deeplesion": write_lesions, "vdt3d": write_classes}
    if data_kind(bundle) in own:
        return own[data_kind(bundle)](folder)
    return {"scans": write_scans, "photographs": write_images}[data_kind(bundle)](folder, num_cases)


def has_accuracy(bundle):
    return "accuracy" in read(bundle, "train")["train"]["key_metric"]


def has_figure(bundle):
    return locate(read(bundle, "train")["train"]["task"]["_target_"]).figure is not PretextTask.figure


def dims(bundle):
    return len(read(bundle, "train").get("roi_size", "DHW"))


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def stem(path):
    return path.name.split(".")[0]


def tiny(bundle):
    questions = QUESTIONS if bundle in PRETEXT else {}
    return {**COMMON, **questions, **(PICTURES if bundle in PRETEXT and dims(bundle) == 2 else {}), **TINY[bundle]}


def workflow(bundle, files, kind="train", **overrides):
    """Return an initialised workflow of a bundle."""
    root, paths = str(home(bundle)), [config(bundle, name) for name in files]
    unknown = {key.split("#")[0] for key in overrides} - {"bundle_root"} - set(ConfigParser.load_config_files(paths))
    assert not unknown, f"MONAI ignores overrides of keys that no configuration has: {unknown}"
    made = ConfigWorkflow(
        config_file=paths,
        meta_file=config(bundle, "metadata"),
        logging_file=False,
        workflow_type=kind,
        **{"bundle_root": root, **overrides},
    )
    made.initialize()
    return made


def run(bundle, files, kind="train", **overrides):
    made = workflow(bundle, files, kind, **overrides)
    path = list(sys.path)
    try:
        made.run()
        made.finalize()
    finally:
        sys.path[:] = path
    return made


class Run:
    """A tiny run and the folders of its files; only the runs of the fixture `runs` draw curves and previews."""

    def __init__(self, bundle, folder, scans, draw=False, **overrides):
        self.bundle, self.draw = bundle, draw
        self.models, self.output = folder / "models", folder / "output"
        self.settings = {
            **tiny(bundle),
            "dataset_dir": str(scans),
            "models_dir": str(self.models),
            "output_dir": str(self.output),
            **overrides,
        }

    def go(self, files=("train",), **overrides):
        with self.drawing():
            return run(self.bundle, files, **{**self.settings, **overrides})

    def drawing(self):
        """Skip curves and previews unless `draw`; they take half of the time of a tiny run."""
        return nullcontext() if self.draw else patch.object(ThrottledFigure, "submit")

    def die_after_saving(self, monkeypatch):
        """Train until the first checkpoint is written, then stop as if killed."""
        save = Checkpoint.save

        def save_and_die(checkpoint, engine):
            save(checkpoint, engine)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "save", save_and_die)
            with pytest.raises(KeyboardInterrupt):
                self.go()

    def infer(self, source, folder, **overrides):
        """Run inference on a folder or a file, with the settings that are equal in training."""
        own = read(self.bundle, "inference")
        settings = {key: value for key, value in self.settings.items() if key in own}
        settings |= {"dataset_dir": str(source), "output_dir": str(folder), **overrides}
        run(self.bundle, ["inference"], "inference", **settings)

    def check(self, capsys):
        """Return the output of ``--dry_run True`` for usable data."""
        with pytest.raises(SystemExit) as left:
            self.go(dry_run=True)
        assert left.value.code == 0
        return capsys.readouterr().out

    def weights(self):
        """Return the weights of the network in the checkpoint."""
        return torch.load(self.models / "checkpoint.pt", weights_only=True)["network"]

    def state(self):
        """Return weights, state of the loss, and further state in the checkpoint."""
        content = torch.load(self.models / "checkpoint.pt", weights_only=True)
        parts = {"network": content["network"], "loss": content["loss_function"], **content["extra_state"]}
        return {(part, name): value for part, state in parts.items() for name, value in state.items()}

    def equals(self, other):
        """Return whether another run has the same state bit for bit."""
        mine, others = self.state(), other.state()
        return mine.keys() == others.keys() and all(torch.equal(mine[key], others[key]) for key in mine)
