"""Plan of a study: initialisations, label fractions, seeds and runs, stored in ``plan.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.study.records import RunKey
from tools.transfer.hub import local_file
from tools.utils.errors import InputError, check_choice
from tools.utils.files import file_sha256, write_json
from tools.utils.inputs import DICTIONARY, INTEGER, NUMBER, TEXT, list_of, read_json

SCRATCH, RANDOM = "scratch", "random"
PROTOCOLS = ("finetune", "freeze_then_finetune", "frozen", "linear")


#: fields of ``plan.json``
PLAN = {
    "bundle": TEXT,
    "score": TEXT,
    "arms": [{"name": TEXT, "protocol": TEXT, "pretrained?": (TEXT,), "sha256?": (TEXT,)}],
    "fractions": list_of(NUMBER),
    "seeds": list_of(INTEGER),
    "settings?": (DICTIONARY,),
    "files?": list_of(TEXT),
}


def read_plan(path: Path) -> dict[str, Any]:
    """Read ``plan.json``.

    Raises:
        InputError: if the file is missing, damaged or not a plan.
    """
    return read_json(path, PLAN, "plan of a study")


@dataclass(frozen=True)
class Initialisation:
    """Initialisation of the encoder.

    Attributes:
        name: name in tables and figures.
        pretrained: path of the encoder's weights; None for training from scratch.
        protocol: transfer protocol.
        sha256: hash of the weights file.
    """

    name: str
    pretrained: str | None = None
    protocol: str = SCRATCH
    sha256: str | None = None


@dataclass(frozen=True)
class Run:
    """Training and evaluation with an initialisation, a fraction of the labels and a seed."""

    initialisation: Initialisation
    fraction: float
    seed: int

    @property
    def key(self) -> RunKey:
        """Key of the run in the records."""
        return RunKey(self.initialisation.name, self.fraction, self.seed)

    @property
    def folder(self) -> str:
        """Folder of the run in the ``cells`` folder of the study."""
        return f"{self.initialisation.name}/{100 * self.fraction:g}pct_seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of the bundle that differ between runs."""
        start = {"pretrained": self.initialisation.pretrained} if self.initialisation.pretrained else {}
        return {**start, "protocol": self.initialisation.protocol, "label_fraction": self.fraction, "seed": self.seed}

    @property
    def title(self) -> str:
        """Name in messages."""
        return f"{self.initialisation.name}, {100 * self.fraction:g} % of the labels, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """Plan of a study.

    Attributes:
        bundle: name of the downstream bundle.
        score: name of its key metric.
        initialisations: initialisations, scratch first.
        fractions: label fractions, ascending.
        seeds: random seeds of label subsets, initial weights and training.
        settings: keys of the bundle for all runs.
        files: configurations that override ``train``.
    """

    bundle: str
    score: str
    initialisations: tuple[Initialisation, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    files: tuple[str, ...] = ()

    def runs(self) -> list[Run]:
        """Return all runs, ordered by seed, fraction and initialisation for early comparisons."""
        return [Run(start, f, seed) for seed in self.seeds for f in self.fractions for start in self.initialisations]

    def write(self, folder: Path) -> None:
        """Write ``plan.json``; an existing plan in the folder may be extended but not changed.

        Raises:
            InputError: if the folder has a different study.
        """
        path = folder / "plan.json"
        content = json.loads(json.dumps(asdict(self)))
        content["arms"] = content.pop("initialisations")
        for arm in content["arms"]:
            arm["pretrained"] = _below(folder, arm["pretrained"])
        if path.exists():
            _check_unchanged(path, read_plan(path), content)
        write_json(path, content)


def _below(folder: Path, path: str | None) -> str | None:
    """Return a path relative to a folder if it is in it, so that the folder can be moved; otherwise the path."""
    own = folder.resolve()
    return str(Path(path).relative_to(own)) if path and Path(path).is_relative_to(own) else path


def _check_unchanged(path: Path, existing: Mapping[str, Any], planned: Mapping[str, Any]) -> None:
    """Raise `InputError` if the settings of all runs or the meaning of an initialisation's name have changed."""
    old, new = ({arm["name"]: arm for arm in plan["arms"]} for plan in (existing, planned))
    pairs = {key: (existing.get(key), planned[key]) for key in ("bundle", "files")}
    recorded = existing.get("settings") or {}
    for key in sorted(recorded.keys() | planned["settings"].keys()):
        pairs[key] = tuple(settings.get(key, "the default") for settings in (recorded, planned["settings"]))
    pairs |= {f"weights of {name}": (old[name].get("sha256"), new[name]["sha256"]) for name in old if name in new}
    pairs |= {f"protocol of {name}": (old[name]["protocol"], new[name]["protocol"]) for name in old if name in new}
    for key, (was, now) in pairs.items():
        if was != now:
            raise InputError(
                f"{path}: expected the study of this folder, with {key} {was}, found {now}; choose another "
                "--study_dir, or remove this one"
            )


def initialisation_name(encoder: str, protocol: str, protocols: Sequence[str]) -> str:
    """Return the name of an initialisation, with the protocol if there are several."""
    return f"{encoder}-{protocol}" if len(protocols) > 1 else encoder


def check_name(key: str, name: str) -> None:
    """Raise `InputError` if the name of an initialisation is not a valid folder name."""
    if not re.fullmatch(r"\w[\w.+-]*", str(name)) or name in (SCRATCH, RANDOM):
        raise InputError(
            f"{key}: expected names of letters, digits, '.', '_' and '-', besides {SCRATCH!r} and {RANDOM!r}, found "
            f"{name!r}"
        )


def find_encoders(encoders: Mapping[str, str]) -> dict[str, str]:
    """Return the local paths of weights by name; weights on the Hub are downloaded.

    Raises:
        InputError: if it is not a dictionary, or a file cannot be downloaded.
    """
    if not isinstance(encoders, Mapping):
        raise InputError(f"encoders: expected a dictionary of names to weights files (model.pt), found {encoders!r}")
    return {name: str(local_file(path)) for name, path in encoders.items()}


def build_initialisations(encoders: Mapping[str, str], protocols: Sequence[str]) -> tuple[Initialisation, ...]:
    """Build the initialisations: scratch, a frozen random encoder if `protocols` has "frozen", and every encoder.

    Args:
        encoders: names to weights files.
        protocols: transfer protocols among "finetune", "freeze_then_finetune", "frozen" and "linear".

    Raises:
        InputError: if a name is not a valid folder name, a file is missing, or a protocol is unknown.
    """
    for protocol in protocols:
        check_choice(protocol, PROTOCOLS, "protocols")
    initialisations = [Initialisation(SCRATCH)]
    if "frozen" in protocols:
        initialisations.append(Initialisation(initialisation_name(RANDOM, "frozen", protocols), None, "frozen_random"))
    for name, path in encoders.items():
        check_name("encoders", name)
        try:
            digest = file_sha256(path)
        except OSError as error:
            raise InputError(
                f"encoders: expected the weights of {name} (model.pt), found {path}: {error.strerror}"
            ) from error
        initialisations += [
            Initialisation(initialisation_name(name, protocol, protocols), str(Path(path).resolve()), protocol, digest)
            for protocol in protocols
        ]
    return tuple(initialisations)


def check_grid(fractions: Sequence[float], seeds: Sequence[int]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Check the label fractions and seeds; returns both, the fractions in ascending order.

    Raises:
        InputError: unless they are lists of unique fractions in (0, 1] and of unique non-negative integers.
    """
    for key, values, right, expected in (
        (
            "label_fractions",
            fractions,
            lambda v: isinstance(v, int | float) and 0 < v <= 1,
            "fractions above 0, up to 1",
        ),
        ("seeds", seeds, lambda v: isinstance(v, int) and v >= 0, "integers of at least 0"),
    ):
        listed = isinstance(values, list | tuple) and values and len(set(values)) == len(values)
        if not listed or isinstance(values[0], bool) or not all(map(right, values)):
            raise InputError(f"{key}: expected a list of {expected}, all different, found {values!r}")
    return tuple(sorted(map(float, fractions))), tuple(seeds)
