"""Pretraining before a study, on a folder's scans except those that the study tests on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.data.split import split_cases
from tools.study.bundle import Bundle
from tools.study.jobs import Job
from tools.transfer.load import seen_cases
from tools.transforms.hashes import hash_cases
from tools.utils.errors import InputError
from tools.utils.files import write_json

#: what the study sets itself
OWN_KEYS = ("models_dir", "output_dir", "split_file", "resume", "check", "pretrained")


class Pretraining:
    """Pretext bundles to be trained first.

    Args:
        bundles: settings by name of the bundle, as on its command line. A bundle of photographs in classes is given
            these alone.
        folder: where the encoders go, ``<name>/models/model.pt``.
        neighbours: the folder that holds the bundles.
        dataset_dir: scans or pictures without labels.
        settings: of all bundles.
        steps: optimizer steps of each, or None for the bundle's own.

    Raises:
        InputError: a bundle or a setting that does not exist.
    """

    def __init__(
        self,
        bundles: Mapping[str, Mapping[str, Any]],
        folder: Path,
        neighbours: Path,
        dataset_dir: str | None,
        settings: Mapping[str, Any],
        steps: int | None,
    ) -> None:
        if not isinstance(bundles, Mapping):
            example = "{'jigsaw3d': {'spacing': 0.5}}"
            raise InputError(
                f'pretrain: expected a dictionary of bundles and their settings, such as "{example}", found {bundles!r}'
            )
        self.bundles = bundles
        self.folder = folder
        self.neighbours = neighbours
        self.dataset_dir = dataset_dir
        self.settings = settings
        self.steps = steps
        self.opened = {name: self._open(name) for name in self.bundles}

    def _open(self, name: str) -> Bundle:
        own = dict(self.bundles[name] or {})
        taken = [key for key in OWN_KEYS if key in {**self.settings, **own}]
        if taken:
            raise InputError(f"pretrain: {name} cannot be given {', '.join(taken)}, which the study sets itself")
        if not Bundle(self.neighbours / name, own).has("classes"):
            scans = {"dataset_dir": self.dataset_dir} if self.dataset_dir else {}
            own = {**scans, **self.settings, **own}
        if self.steps is not None:
            own["epochs"] = math.ceil(self.steps / Bundle(self.neighbours / name, own).value("steps_per_epoch"))
        return Bundle(self.neighbours / name, own)

    def encoders(self) -> dict[str, str]:
        """Weights file by bundle, once trained."""
        return {name: str(self.folder / name / "models/model.pt") for name in self.bundles}

    def jobs(self, test_cases: Sequence[Mapping[str, Any]]) -> list[Job]:
        """The runs that are still to be made.

        Args:
            test_cases: cases with "hashes" that must not be seen.
        """
        return [self._job(name, bundle, test_cases) for name, bundle in self.opened.items() if not self._is_done(name)]

    def _job(self, name: str, bundle: Bundle, test_cases: Sequence[Mapping[str, Any]]) -> Job:
        folder = self.folder / name
        order = {"root": str(bundle.root), "runs": [["train", ["train"]]]}
        settings = bundle.settings | {"models_dir": str(folder / "models"), "output_dir": str(folder / "output")}
        parts = split_without(bundle, test_cases)
        if parts is not None:
            path = self.folder / f"{name}_split.json"
            write_json(path, parts)
            settings["split_file"] = str(path)
        return Job(f"pretraining {name}", folder, order | {"settings": settings})

    def _is_done(self, name: str) -> bool:
        """Whether a run with the same settings has ended.

        Raises:
            InputError: one with other settings has.
        """
        path = self.folder / name / "done.json"
        if not path.exists():
            return False
        was, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(self.opened[name].settings))
        if was != now:
            raise InputError(
                f"{path}: expected {name} pretrained with {now}, found with {was}; choose another --study_dir, or "
                f"remove {path.parent}"
            )
        return True

    def finish(self, name: str) -> None:
        """Remember that a bundle's run ended well."""
        write_json(self.folder / name / "done.json", self.opened[name].settings)


def split_without(bundle: Bundle, test_cases: Sequence[Mapping[str, Any]]) -> dict[str, list[str]] | None:
    """Training and validation cases of a pretext bundle, all patients with a scan that is tested on left out.

    Scans are told by their voxels, whatever their files are called.

    Args:
        bundle: the pretext bundle.
        test_cases: cases with "hashes".

    Returns:
        Case ids under "training", "validation" and "test" (left out); None for a bundle that trains on no scans.
    """
    if not bundle.has("preprocessing") or bundle.has("classes"):
        return None
    cases = hash_cases(
        bundle.value("cases"), bundle.value("preprocessing"), bundle.value("skip_bad"), part="pretraining"
    )
    tested = {case for case, _ in seen_cases({"cases": cases}, test_cases)}
    patients = {case["patient"] for case in cases if case["case"] in tested}
    kept = [case for case in cases if case["patient"] not in patients]
    parts = split_cases(kept, bundle.value("validation_fraction"))
    parts["test"] = [case for case in cases if case["patient"] in patients]
    return {part: [case["case"] for case in members] for part, members in parts.items() if members}
