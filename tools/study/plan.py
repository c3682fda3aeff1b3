"""What a study runs: arms, label fractions and seeds, their cells, and the file that remembers them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.utils.errors import InputError, check_choice
from tools.utils.files import write_json

SCRATCH = "scratch"
PROTOCOLS = ("finetune", "warmup", "frozen", "linear")


@dataclass(frozen=True)
class Arm:
    """An initialisation.

    Attributes:
        name: as in tables and figures.
        pretrained: encoder's weights, or None from scratch.
        protocol: how they are used.
        sha256: of the weights file.
    """

    name: str
    pretrained: str | None = None
    protocol: str = SCRATCH
    sha256: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run: an arm with a share of the labels, chosen and trained under a seed."""

    arm: Arm
    fraction: float
    seed: int

    @property
    def folder(self) -> str:
        """Its folder in the study's ``cells``."""
        return f"{self.arm.name}/{100 * self.fraction:g}pct_seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What sets it apart from the other cells, by keys of the bundle."""
        start = {"pretrained": self.arm.pretrained} if self.arm.pretrained else {}
        return {**start, "protocol": self.arm.protocol, "label_fraction": self.fraction, "seed": self.seed}

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"{self.arm.name}, {100 * self.fraction:g} % of the labels, seed {self.seed}"


@dataclass(frozen=True)
class Plan:
    """A whole study.

    Attributes:
        bundle: name of the downstream bundle.
        score: name of its key metric.
        arms: initialisations, scratch first.
        fractions: label shares, ascending.
        seeds: of label subsets, initial weights and draws.
        settings: of every cell, by keys of the bundle.
        files: configurations laid over ``train``.
    """

    bundle: str
    score: str
    arms: tuple[Arm, ...]
    fractions: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    files: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """All cells, so ordered that a study stopped early has whole comparisons: seeds, then shares, then arms."""
        return [Cell(arm, f, seed) for seed in self.seeds for f in self.fractions for arm in self.arms]

    def keep(self, folder: Path) -> None:
        """Write ``plan.json``, which may add to an earlier plan of the folder but not change it.

        Raises:
            InputError: the folder holds another study.
        """
        path = folder / "plan.json"
        ours = json.loads(json.dumps(asdict(self)))
        if path.exists():
            _refuse_change(path, json.loads(path.read_text(encoding="utf-8")), ours)
        write_json(path, ours)


def _refuse_change(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Arms, fractions and seeds may come and go; what cells have in common, and what an arm's name means, may not."""
    old, new = ({arm["name"]: arm for arm in plan["arms"]} for plan in (theirs, ours))
    pairs = {key: (theirs.get(key), ours[key]) for key in ("bundle", "files")}
    for key in sorted(theirs["settings"].keys() | ours["settings"].keys()):
        pairs[key] = tuple(plan["settings"].get(key, "the default") for plan in (theirs, ours))
    pairs |= {f"weights of {name}": (old[name]["sha256"], new[name]["sha256"]) for name in old if name in new}
    pairs |= {f"protocol of {name}": (old[name]["protocol"], new[name]["protocol"]) for name in old if name in new}
    for key, (was, now) in pairs.items():
        if was != now:
            raise InputError(
                f"{path}: expected the study that was begun here, with {key} {was}, found {now}; choose another "
                "--study_dir, or remove this one"
            )


def arm_name(encoder: str, protocol: str, protocols: Sequence[str]) -> str:
    """What an encoder under a protocol is called; the protocol stands there where there are several."""
    return f"{encoder}-{protocol}" if len(protocols) > 1 else encoder


def build_arms(encoders: Mapping[str, str], protocols: Sequence[str]) -> tuple[Arm, ...]:
    """Scratch, and every encoder under every protocol.

    Args:
        encoders: weights files by the name that figures show.
        protocols: of "finetune", "warmup", "frozen" and "linear".

    Raises:
        InputError: a name that makes no folder, a missing file, an unknown protocol.
    """
    for protocol in protocols:
        check_choice(protocol, PROTOCOLS, "protocols")
    if not isinstance(encoders, Mapping):
        raise InputError(f"encoders: expected a dictionary of names to weights files (model.pt), found {encoders!r}")
    arms = [Arm(SCRATCH)]
    for name, path in encoders.items():
        if not re.fullmatch(r"\w[\w.+-]*", str(name)) or name == SCRATCH:
            raise InputError(
                f"encoders: expected names of letters, digits, '.', '_' and '-', besides {SCRATCH!r}, found {name!r}"
            )
        try:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(
                f"encoders: expected the weights of {name} (model.pt), found {path}: {error.strerror}"
            ) from error
        arms += [
            Arm(arm_name(name, protocol, protocols), str(Path(path).resolve()), protocol, digest)
            for protocol in protocols
        ]
    return tuple(arms)


def check_grid(fractions: Sequence[float], seeds: Sequence[int]) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Label shares in ascending order, and seeds.

    Raises:
        InputError: not lists of shares in (0, 1] and of whole numbers, all different.
    """
    for key, values, right, expected in (
        ("label_fractions", fractions, lambda v: isinstance(v, int | float) and 0 < v <= 1, "shares above 0, up to 1"),
        ("seeds", seeds, lambda v: isinstance(v, int) and v >= 0, "whole numbers of at least 0"),
    ):
        listed = isinstance(values, list | tuple) and values and len(set(values)) == len(values)
        if not listed or isinstance(values[0], bool) or not all(map(right, values)):
            raise InputError(f"{key}: expected a list of {expected}, all different, found {values!r}")
    return tuple(sorted(map(float, fractions))), tuple(seeds)
