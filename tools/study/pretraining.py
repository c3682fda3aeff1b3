"""Pretraining as part of a study, without the patients of the test set."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data.split import split_cases
from tools.study.bundle import BundleConfig
from tools.study.jobs import Job
from tools.study.plan import check_name
from tools.transfer.comparison import seen_cases
from tools.transfer.hub import local_file
from tools.transforms.hashes import hash_cases
from tools.utils.errors import InputError
from tools.utils.files import write_json
from tools.utils.inputs import read_json

#: keys set by the study
STUDY_KEYS = ("models_dir", "output_dir", "split_file", "resume", "dry_run")


class Pretraining:
    """Pretext bundles that are trained before the downstream runs.

    Args:
        bundles: names of the initialisations to the settings of their pretraining, as on the command line. ``bundle``
            is the pretext bundle, by default the name; ``pretrained`` is a name in `encoders` or weights to continue
            from. `dataset_dir` and `settings` are not used for bundles that train on photographs with classes.
        folder: output folder; the encoders are ``<name>/models/model.pt``.
        bundles_dir: folder of the bundles.
        dataset_dir: unlabelled scans or images.
        settings: settings of all bundles.
        steps: number of optimizer steps; None for the default of each bundle.
        encoders: weights files by name.

    Raises:
        InputError: if a name is not a valid folder name, or a bundle or a setting does not exist.
    """

    def __init__(
        self,
        bundles: Mapping[str, Mapping[str, Any]],
        folder: Path,
        bundles_dir: Path,
        dataset_dir: str | None,
        settings: Mapping[str, Any],
        steps: int | None,
        encoders: Mapping[str, str],
    ) -> None:
        if not isinstance(bundles, Mapping):
            example = "{'jigsaw3d': {'spacing': 0.5}}"
            raise InputError(
                f'pretrain: expected a dictionary of bundles and their settings, such as "{example}", found {bundles!r}'
            )
        self.bundles = bundles
        self.folder = folder
        self.bundles_dir = bundles_dir
        self.dataset_dir = dataset_dir
        self.settings = settings
        self.steps = steps
        self.published = encoders
        self.opened = {name: self._open(name) for name in self.bundles}

    def _open(self, name: str) -> BundleConfig:
        check_name("pretrain", name)
        own = dict(self.bundles[name] or {})
        root = self.bundles_dir / str(own.pop("bundle", name))
        reserved = [key for key in STUDY_KEYS if key in {**self.settings, **own}]
        reserved += ["pretrained in pretrain_settings"] * ("pretrained" in self.settings)
        if reserved:
            raise InputError(f"pretrain: {name}: expected no {', '.join(reserved)}, which the study sets")
        if own.get("pretrained") is not None:
            own["pretrained"] = str(self._start(name, own["pretrained"]))
        if not BundleConfig(root, own).has("classes"):
            scans = {"dataset_dir": self.dataset_dir} if self.dataset_dir else {}
            own = {**scans, **self.settings, **own}
        if self.steps is not None:
            own["epochs"] = math.ceil(self.steps / BundleConfig(root, own).value("steps_per_epoch"))
        return BundleConfig(root, own)

    def _start(self, name: str, start: str) -> Path:
        """Return the weights file that a pretraining continues from."""
        path = local_file(self.published.get(start, start)).resolve()
        if not path.is_file():
            known = ", ".join(self.published) or "none given"
            raise InputError(
                f"pretrain: expected pretrained of {name} to be a name in encoders ({known}) or a weights file, found "
                f"{start}"
            )
        return path

    def starts(self) -> list[str]:
        """Return the weights files that are continued from."""
        return [one.settings["pretrained"] for one in self.opened.values() if one.settings.get("pretrained")]

    def encoders(self) -> dict[str, str]:
        """Return the weights file of each bundle."""
        return {name: str(self.folder / name / "models/model.pt") for name in self.bundles}

    def jobs(self, test_cases: Sequence[Mapping[str, Any]]) -> list[Job]:
        """Return the jobs of the bundles that are not trained yet.

        Args:
            test_cases: cases with "hashes" to exclude from pretraining.
        """
        return [self._job(name, bundle, test_cases) for name, bundle in self.opened.items() if not self._is_done(name)]

    def _job(self, name: str, bundle: BundleConfig, test_cases: Sequence[Mapping[str, Any]]) -> Job:
        folder = self.folder / name
        spec = {"root": str(bundle.root), "runs": [["train", ["train"]]]}
        settings = bundle.settings | {"models_dir": str(folder / "models"), "output_dir": str(folder / "output")}
        split = split_excluding(bundle, test_cases)
        if split is not None:
            path = self.folder / f"{name}_split.json"
            write_json(path, split)
            settings["split_file"] = str(path)
        return Job(f"pretraining {name}", folder, spec | {"settings": settings})

    def _is_done(self, name: str) -> bool:
        """Return whether a run with the same settings has finished.

        Raises:
            InputError: if a run with other settings has finished.
        """
        path = self.folder / name / "done.json"
        if not path.exists():
            return False
        was, now = read_json(path), json.loads(json.dumps(self.opened[name].settings))
        if was != now:
            raise InputError(
                f"{path}: expected {name} pretrained with {now}, found with {was}; choose another --study_dir, or "
                f"remove {path.parent}"
            )
        return True

    def finish(self, name: str) -> None:
        """Record that the run of a bundle has finished."""
        write_json(self.folder / name / "done.json", self.opened[name].settings)


def split_excluding(bundle: BundleConfig, test_cases: Sequence[Mapping[str, Any]]) -> dict[str, list[str]] | None:
    """Split the cases of a pretext bundle and exclude all patients with a test scan.

    Scans are compared by voxel hash, not by name.

    Args:
        bundle: pretext bundle.
        test_cases: cases with "hashes".

    Returns:
        Case ids under "training", "validation" and "test" (excluded); None for a bundle that does not train on scans.
    """
    if not bundle.has("preprocessing") or bundle.has("classes"):
        return None
    cases = hash_cases(
        bundle.value("cases"), bundle.value("preprocessing"), bundle.value("skip_bad"), part="pretraining"
    )
    tested = {case for case, _ in seen_cases({"cases": cases}, test_cases)}
    patients = {case["patient"] for case in cases if case["case"] in tested}
    remaining = [case for case in cases if case["patient"] not in patients]
    split = split_cases(remaining, bundle.value("val_fraction"))
    split["test"] = [case for case in cases if case["patient"] in patients]
    return {name: [case["case"] for case in members] for name, members in split.items() if members}
