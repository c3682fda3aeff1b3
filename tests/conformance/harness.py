"""What the bundle tests share: every bundle of the repository, tiny data, tiny runs."""

import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parents[1].name for path in ROOT.glob("bundles/*/configs/train.json"))

#: overrides that make a bundle's run tiny; a new bundle is one more line
TINY = {
    "cpc3d": {
        "roi_size": [48, 48, 48],
        "grid": 3,
        "negatives_same_volume": 3,
        "negatives_other_volumes": 4,
        "code_channels": 16,
        "context_channels": 16,
    },
}
COMMON = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 2, "validation_steps": 1, "warmup_epochs": 0}


def write_scans(folder, num_cases=5, edge=52):
    """Smooth random volumes as NIfTI; every tenth of a second counts here."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in range(num_cases):
        generator = torch.Generator().manual_seed(case)
        coarse = torch.rand(1, 1, 9, 9, 9, generator=generator)
        volume = torch.nn.functional.interpolate(coarse, (edge,) * 3, mode="trilinear")[0, 0]
        volume = volume + 0.05 * torch.rand(volume.shape, generator=generator)
        image = nibabel.Nifti1Image((volume * 1000).numpy().astype(np.int16), np.diag([2.0, 2, 2, 1]))
        nibabel.save(image, folder / f"scan_{case}.nii.gz")
    return folder


def config(bundle, name):
    return str(ROOT / "bundles" / bundle / "configs" / f"{name}.json")


def workflow(bundle, files, kind="train", **overrides):
    """A bundle's workflow, initialised, its folder found the way `run` finds it."""
    root = str(ROOT / "bundles" / bundle)
    made = ConfigWorkflow(
        config_file=[config(bundle, name) for name in files],
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
    """A finished tiny run and where it left its files."""

    def __init__(self, bundle, folder, scans, **overrides):
        self.bundle = bundle
        self.models, self.output = folder / "models", folder / "output"
        self.settings = {
            **COMMON,
            **TINY[bundle],
            "dataset_dir": str(scans),
            "models_dir": str(self.models),
            "output_dir": str(self.output),
            **overrides,
        }

    def go(self, files=("train",), **overrides):
        return run(self.bundle, files, **{**self.settings, **overrides})

    def weights(self):
        return torch.load(self.models / "checkpoint.pt", weights_only=True)["network"]
