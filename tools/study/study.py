"""The study: what is run, in which order, and what is said of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tools.study.bundle import Bundle
from tools.study.jobs import Ending, Job, run_jobs
from tools.study.plan import SCRATCH, Arm, Cell, Plan, arm_name, build_arms, check_grid
from tools.study.pretraining import Pretraining
from tools.study.report import write_report
from tools.training.dry_run import format_duration, time_step
from tools.training.run_folder import claim
from tools.transfer.load import load_encoder
from tools.utils.errors import InputError
from tools.utils.files import write_json
from tools.utils.outputs import output_path, refuse_inside

#: what cells are given by the study
OWN_KEYS = (
    "pretrained",
    "protocol",
    "label_fraction",
    "seed",
    "models_dir",
    "output_dir",
    "cache_dir",
    "resume",
    "check",
)
#: what is written to the study's folder itself
FILES = ("plan.json", "results.csv", "curve.png", "convergence.png", "differences.png")
#: what is kept of a cell besides its log
KEPT = ("evaluation.csv", "evaluation_cases.csv", "evaluation.json", "metrics.csv", "split.json")


class Study:
    """Initialisations × label fractions × seeds of one downstream bundle, each in a process of its own.

    Every cell of the grid takes the same optimizer steps with the same schedule, draws and augmentation as the others
    of its seed, on the same cases as the other initialisations; smaller shares of a seed are parts of larger ones; test
    and validation cases are the same in all. Run again, a study goes on where it was stopped.

    Args:
        bundle_root: folder of the downstream bundle.
        study_dir: where plan, cells and report go.
        encoders: weights files to compare with training from scratch, by the names that figures show.
        protocols: ways of using them: "finetune", "warmup", "frozen", "linear".
        label_fractions: shares of the training patients.
        seeds: of label subsets, initial weights and draws.
        dataset_dir: labelled data; None for the bundle's phantoms.
        settings: of every cell, by keys of the bundle's ``train.json``.
        config_files: names of configurations laid over it, such as ``paper``.
        pretrain: pretext bundles to train first, see `Pretraining`.
        pretrain_dir: what they train on; None for `dataset_dir`.
        pretrain_settings: of all of them.
        pretrain_steps: optimizer steps of each.
        jobs: runs at a time.
        keep_models: keep the trained networks of all cells.

    Raises:
        InputError: settings that do not exist or fit.
    """

    def __init__(
        self,
        bundle_root: str,
        study_dir: str,
        encoders: Mapping[str, str],
        protocols: Sequence[str],
        label_fractions: Sequence[float],
        seeds: Sequence[int],
        dataset_dir: str | None = None,
        settings: Mapping[str, Any] | None = None,
        config_files: Sequence[str] = (),
        pretrain: Mapping[str, Mapping[str, Any]] | None = None,
        pretrain_dir: str | None = None,
        pretrain_settings: Mapping[str, Any] | None = None,
        pretrain_steps: int | None = None,
        jobs: int = 1,
        keep_models: bool = False,
    ) -> None:
        self.folder = Path(study_dir)
        self.encoders, self.protocols = dict(encoders), protocols
        self.fractions, self.seeds = check_grid(label_fractions, seeds)
        self.settings = dict(settings or {}) | ({"dataset_dir": dataset_dir} if dataset_dir else {})
        self.files = tuple(config_files)
        taken = [key for key in OWN_KEYS if key in self.settings]
        if taken:
            raise InputError(f"settings: {', '.join(taken)} cannot be given, which the study sets itself")
        self.bundle = Bundle(bundle_root, self.settings, self.files)
        self.pretraining = Pretraining(
            pretrain or {},
            self.folder / "pretrained",
            Path(bundle_root).resolve().parent,
            pretrain_dir or dataset_dir,
            pretrain_settings or {},
            pretrain_steps,
        )
        both = sorted(self.encoders.keys() & self.pretraining.opened.keys())
        if both:
            raise InputError(f"encoders: expected other names than those of pretrain, found {', '.join(both)} in both")
        self.workers = jobs
        self.keep_models = keep_models
        self._check_folder([path for path in (dataset_dir, pretrain_dir, *self.encoders.values()) if path is not None])
        build_arms(self.encoders, protocols)  # so that a wrong name or path is said before anything is run

    def _check_folder(self, read: Sequence[str]) -> None:
        """Refuse a folder where the study would write over, or remove, what it reads."""
        for name in FILES:
            output_path(self.folder, name)
        for folder in (self.folder / "cells", *(self.pretraining.folder / name for name in self.pretraining.opened)):
            refuse_inside(folder, read)

    def run(self, dry_run: bool = False) -> None:
        """Pretrain, check, run what has not been run, and report.

        Args:
            dry_run: only say what would be run, and what it would take.

        Raises:
            InputError: another study runs in the folder, an encoder does not fit or has seen a test case, or a run
                failed (the others are reported).
        """
        self._say_plan()
        if dry_run:
            self._say_cost()
            return
        claimed = claim("study_dir", self.folder)
        try:
            self._run()
        finally:
            claimed.release()

    def _run(self) -> None:
        self._pretrain()
        plan = self._plan(build_arms({**self.pretraining.encoders(), **self.encoders}, self.protocols))
        self._check_arms(plan.arms)
        plan.keep(self.folder)
        failed = self._run_cells(plan)
        report = write_report(self.folder)
        print(f"report: {report}")
        if failed:
            first, error = next(iter(failed.items()))
            raise InputError(
                f"{len(failed)} of {len(plan.cells())} runs failed, first {first}: {error}; logs are in "
                f"{self.folder / 'cells'}, and the same command runs them again"
            )

    def _plan(self, arms: tuple[Arm, ...]) -> Plan:
        return Plan(
            self.bundle.name, self.bundle.key_metric, arms, self.fractions, self.seeds, self.settings, self.files
        )

    @cached_property
    def _training_cases(self) -> dict[tuple[float, int], int]:
        """Labelled training cases by label share and seed."""
        return {
            (fraction, seed): len(self.bundle.split(label_fraction=fraction, seed=seed)["training"])
            for fraction in self.fractions
            for seed in self.seeds
        }

    @cached_property
    def _test_cases(self) -> list[dict[str, Any]]:
        """Test cases with the hashes of their voxels."""
        return self.bundle.value("test_cases")()

    def _arm_names(self) -> list[str]:
        names = [*self.pretraining.opened, *self.encoders]
        return [SCRATCH, *(arm_name(name, protocol, self.protocols) for name in names for protocol in self.protocols)]

    def _say_plan(self) -> None:
        names, parts = self._arm_names(), self.bundle.split()
        cells = len(names) * len(self.fractions) * len(self.seeds)
        print(f"{self.bundle.name}: {cells} runs of {self.bundle.steps()} steps in {self.folder}")
        print(f"  initialisations: {', '.join(names)}")
        for fraction in self.fractions:
            counts = sorted({self._training_cases[fraction, seed] for seed in self.seeds})
            print(f"  {100 * fraction:g} % of the labels: {' or '.join(map(str, counts))} training cases")
        counts = [{self._training_cases[fraction, seed] for seed in self.seeds} for fraction in self.fractions]
        if any(one == other for one, other in pairwise(counts)):
            print("  warning: some label fractions come to the same cases; the data set is too small for them")
        print(
            f"  seeds: {', '.join(map(str, self.seeds))}; {len(parts['validation'])} cases validate, "
            f"{len(parts['test'])} are tested on, the same in all runs"
        )
        for name, bundle in self.pretraining.opened.items():
            data = bundle.settings.get("dataset_dir", "its phantoms")
            print(f"  first: pretraining of {name}, {bundle.steps()} steps on {data}")

    def _say_cost(self) -> None:
        """Estimate the time from one training step of every kind; validation, tests and starts come on top."""
        step = _seconds_per_step(self.bundle)
        cells = len(self._arm_names()) * len(self.fractions) * len(self.seeds)
        seconds = cells * self.bundle.steps() * step
        print(f"one training step takes {step:.2f} s: {cells} runs {format_duration(seconds / self.workers)}")
        for name, bundle in self.pretraining.opened.items():
            step = _seconds_per_step(bundle)
            print(f"one step of {name} takes {step:.2f} s: {format_duration(step * bundle.steps())}")
        print("validation, tests and the start of each run come on top")

    def _pretrain(self) -> None:
        jobs = self.pretraining.jobs(self._test_cases) if self.pretraining.opened else []
        errors: dict[str, str] = {}

        def done(job: Job, ending: Ending) -> None:
            if ending.error is None:
                self.pretraining.finish(job.folder.name)
            else:
                errors[job.title] = ending.error
            tqdm.write(f"{job.title}: {ending.error or 'done'} ({format_duration(ending.seconds)})")

        if jobs:
            run_jobs(jobs, self.workers, done, "pretraining")
        for title, error in errors.items():
            raise InputError(f"{title}: {error}; its log is in {self.pretraining.folder}")

    def _check_arms(self, arms: Sequence[Arm]) -> None:
        """Load every encoder once, before hours are spent."""
        for arm in {arm.pretrained: arm for arm in arms if arm.pretrained}.values():
            try:
                report = load_encoder(
                    self.bundle.encoder(),
                    arm.pretrained,
                    expected=self.bundle.contract(),
                    test_cases=self._test_cases,
                    allow_overlap=self.bundle.value("allow_overlap"),
                )
            except InputError as error:
                raise InputError(f"encoders: {arm.name}: {error}") from error
            print(report)

    def _run_cells(self, plan: Plan) -> dict[str, str]:
        """Run the cells that have not ended well; give the errors of those that fail."""
        cells = {str(self._cell_folder(cell)): cell for cell in plan.cells()}
        waiting = [self._job(cell) for cell in cells.values() if not self._is_done(cell)]
        if len(waiting) < len(cells):
            print(f"{len(cells) - len(waiting)} of {len(cells)} runs are done already")
        failed: dict[str, str] = {}

        def done(job: Job, ending: Ending) -> None:
            if ending.error is not None:
                failed[job.title] = ending.error
            self._finish(cells[str(job.folder)], plan.score, ending)

        run_jobs(waiting, self.workers, done, "study")
        return failed

    def _cell_folder(self, cell: Cell) -> Path:
        return self.folder / "cells" / cell.folder

    def _is_done(self, cell: Cell) -> bool:
        path = self._cell_folder(cell) / "cell.json"
        return path.exists() and json.loads(path.read_text(encoding="utf-8"))["status"] == "done"

    def _job(self, cell: Cell) -> Job:
        folder = self._cell_folder(cell)
        places = {"models_dir": str(folder / "models"), "output_dir": str(folder / "output")}
        places["cache_dir"] = str(self.folder / "cache")  # one for all
        settings = {**self.bundle.settings, **cell.settings, **places}
        training = ["train", *self.files]
        runs = [["train", training], ["eval", [*training, "evaluate"]]]
        return Job(cell.title, folder, {"root": str(self.bundle.root), "runs": runs, "settings": settings})

    def _finish(self, cell: Cell, score: str, ending: Ending) -> None:
        """Keep what the report reads, remove the rest, say how it went."""
        folder = self._cell_folder(cell)
        for name in KEPT:
            if (folder / "output" / name).exists():
                (folder / "output" / name).replace(folder / name)
        if ending.error is None and not self.keep_models:
            shutil.rmtree(folder / "models")
        record = {"arm": cell.arm.name, "fraction": cell.fraction, "seed": cell.seed}
        record |= {"status": "done" if ending.error is None else "failed", "error": ending.error}
        record |= {"seconds": ending.seconds, "training_cases": self._training_cases[cell.fraction, cell.seed]}
        write_json(folder / "cell.json", record)
        said = ending.error
        if said is None:
            found = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["scores"][score]
            said = f"{score.replace('_', ' ')} {found.get('mean', found.get('value')):.3f}"
        tqdm.write(f"{cell.title}: {said} ({format_duration(ending.seconds)})")


def _seconds_per_step(bundle: Bundle) -> float:
    """Seconds of a training step of a bundle, on samples of its training data."""
    found = bundle.component("inspection").resolve_args()
    shared = ("preprocessing", "random", "network", "loss_function", "autocast", "batch_size")
    return time_step(found["split"]["training"], *(found[name] for name in shared), found.get("task"))
