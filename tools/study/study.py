"""Study of initialisations: pretraining, downstream runs and report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tools.study.bundle import BundleConfig
from tools.study.jobs import Job, JobResult, run_jobs
from tools.study.plan import (
    RANDOM,
    SCRATCH,
    Initialisation,
    Plan,
    Run,
    build_initialisations,
    check_grid,
    find_encoders,
    initialisation_name,
)
from tools.study.pretraining import Pretraining
from tools.study.records import RESULTS, RUNS, Records, read_records, read_run
from tools.study.report import write_report
from tools.training.dry_run import format_duration, time_step
from tools.training.run_folder import claim
from tools.transfer.load import load_encoder
from tools.utils.errors import InputError
from tools.utils.inputs import DICTIONARY, read_json
from tools.utils.outputs import check_outside, output_path

#: keys of the runs that are set by the study
STUDY_KEYS = (
    "pretrained",
    "protocol",
    "label_fraction",
    "seed",
    "models_dir",
    "output_dir",
    "cache_dir",
    "resume",
    "dry_run",
)
#: files in the folder of the study
FILES = ("plan.json", RUNS, RESULTS, "curve.png", "convergence.png", "differences.png")


class Study:
    """Compare initialisations of a downstream bundle over label fractions and seeds, each run in its own process.

    All runs have equal optimizer steps, schedule and augmentation, and runs of a seed and label fraction have equal
    training cases. Smaller fractions are subsets of larger ones. Validation and test cases are the same in all runs. An
    interrupted study continues when it is started again.

    Args:
        bundle_root: folder of the downstream bundle.
        study_dir: output folder for plan, runs and report.
        encoders: names to weights of the encoders that are compared with training from scratch; files of this or
            another project, or addresses of the Hub, see `tools.transfer.load_encoder`.
        protocols: transfer protocols: "finetune", "freeze_then_finetune", "frozen", "linear".
        label_fractions: fractions of the training patients.
        seeds: random seeds of label subsets, initial weights and training.
        dataset_dir: labelled data; None for the bundle's phantoms.
        settings: keys of the bundle's ``train.json`` for all runs.
        config_files: names of configurations that override it, such as ``paper``.
        pretrain: pretext bundles to train first, see `Pretraining`.
        pretrain_dir: data for pretraining; None for `dataset_dir`.
        pretrain_settings: settings of all pretext bundles.
        pretrain_steps: number of optimizer steps of each pretext bundle.
        jobs: number of simultaneous runs.
        keep_models: whether to keep the trained networks of all runs.

    Raises:
        InputError: if a setting does not exist or is invalid.
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
        self.encoders, self.protocols = find_encoders(encoders), protocols
        self.fractions, self.seeds = check_grid(label_fractions, seeds)
        self.settings = dict(settings or {}) | ({"dataset_dir": dataset_dir} if dataset_dir else {})
        self.files = tuple(config_files)
        reserved = [key for key in STUDY_KEYS if key in self.settings]
        if reserved:
            raise InputError(f"settings: expected no {', '.join(reserved)}, which the study sets")
        self.bundle = BundleConfig(bundle_root, self.settings, self.files)
        self.pretraining = Pretraining(
            pretrain or {},
            self.folder / "pretrained",
            Path(bundle_root).resolve().parent,
            pretrain_dir or dataset_dir,
            pretrain_settings or {},
            pretrain_steps,
            self.encoders,
        )
        both = sorted(self.encoders.keys() & self.pretraining.opened.keys())
        if both:
            raise InputError(f"encoders: expected other names than those of pretrain, found {', '.join(both)} in both")
        self.workers = jobs
        self.keep_models = keep_models
        read = (dataset_dir, pretrain_dir, *self.encoders.values(), *self.pretraining.starts())
        self._check_folder([path for path in read if path is not None])
        build_initialisations(self.encoders, protocols)  # checks names and paths

    def _check_folder(self, read: Sequence[str]) -> None:
        """Raise `InputError` if the study would overwrite or remove its inputs."""
        for name in FILES:
            output_path(self.folder, name)
        for folder in (self.folder / "cells", *(self.pretraining.folder / name for name in self.pretraining.opened)):
            check_outside(folder, read)

    def run(self, dry_run: bool = False) -> None:
        """Pretrain, check the encoders, run all unfinished runs and write the report.

        Args:
            dry_run: only print the planned runs and their estimated duration.

        Raises:
            InputError: if another study is running in the folder, an encoder does not fit or was pretrained on a test
                case, or a run failed (the report includes the others).
        """
        self._print_plan()
        if dry_run:
            self._print_cost()
            return
        claimed = claim("study_dir", self.folder)
        try:
            self._run()
        finally:
            claimed.release()

    def _run(self) -> None:
        self._pretrain()
        plan = self._plan(build_initialisations({**self.pretraining.encoders(), **self.encoders}, self.protocols))
        self._check_initialisations(plan.initialisations)
        plan.write(self.folder)
        failed = self._run_all(plan)
        report = write_report(self.folder)
        print(f"report: {report}")
        if failed:
            first, error = next(iter(failed.items()))
            raise InputError(
                f"{len(failed)} of {len(plan.runs())} runs failed, first {first}: {error}; logs are in "
                f"{self.folder / 'runs'}, and the same command runs them again"
            )

    def _plan(self, initialisations: tuple[Initialisation, ...]) -> Plan:
        return Plan(
            self.bundle.name,
            self.bundle.key_metric,
            initialisations,
            self.fractions,
            self.seeds,
            self.settings,
            self.files,
        )

    @cached_property
    def _training_cases(self) -> dict[tuple[float, int], int]:
        """Number of labelled training cases by label fraction and seed."""
        return {
            (fraction, seed): len(self.bundle.split(label_fraction=fraction, seed=seed)["training"])
            for fraction in self.fractions
            for seed in self.seeds
        }

    @cached_property
    def _test_cases(self) -> list[dict[str, Any]]:
        """Test cases with the hashes of their voxels."""
        return self.bundle.value("test_cases")()

    def _initialisation_names(self) -> list[str]:
        names = [*self.pretraining.opened, *self.encoders]
        pairs = [(RANDOM, "frozen")] if "frozen" in self.protocols else []
        pairs += [(name, protocol) for name in names for protocol in self.protocols]
        return [SCRATCH, *(initialisation_name(*pair, self.protocols) for pair in pairs)]

    def _print_plan(self) -> None:
        names, parts = self._initialisation_names(), self.bundle.split()
        runs = len(names) * len(self.fractions) * len(self.seeds)
        print(f"{self.bundle.name}: {runs} runs of {self.bundle.steps()} steps in {self.folder}")
        print(f"  initialisations: {', '.join(names)}")
        for fraction in self.fractions:
            counts = sorted({self._training_cases[fraction, seed] for seed in self.seeds})
            print(f"  {100 * fraction:g} % of the labels: {' or '.join(map(str, counts))} training cases")
        counts = [{self._training_cases[fraction, seed] for seed in self.seeds} for fraction in self.fractions]
        if any(one == other for one, other in pairwise(counts)):
            print("  warning: some label fractions select equal numbers of cases, since the data set is too small")
        print(
            f"  seeds: {', '.join(map(str, self.seeds))}; {len(parts['validation'])} validation and "
            f"{len(parts['test'])} test cases, the same in all runs"
        )
        for name, bundle in self.pretraining.opened.items():
            data = bundle.settings.get("dataset_dir", "its phantoms")
            start = f" with {bundle.name}" if bundle.name != name else ""
            start += f" from {bundle.settings['pretrained']}" if bundle.settings.get("pretrained") else ""
            print(f"  first: pretraining of {name}{start}, {bundle.steps()} steps on {data}")

    def _print_cost(self) -> None:
        """Print the duration estimated from one training step, without validation, testing and start-up."""
        step = _seconds_per_step(self.bundle)
        runs = len(self._initialisation_names()) * len(self.fractions) * len(self.seeds)
        seconds = runs * self.bundle.steps() * step
        print(f"one training step takes {step:.2f} s: {runs} runs {format_duration(seconds / self.workers)}")
        for name, bundle in self.pretraining.opened.items():
            step = _seconds_per_step(bundle)
            print(f"one step of {name} takes {step:.2f} s: {format_duration(step * bundle.steps())}")
        print("validation, testing and start-up of each run are not included")

    def _pretrain(self) -> None:
        jobs = self.pretraining.jobs(self._test_cases) if self.pretraining.opened else []
        errors: dict[str, str] = {}

        def on_finish(job: Job, result: JobResult) -> None:
            if result.error is None:
                self.pretraining.finish(job.folder.name)
            else:
                errors[job.title] = result.error
            tqdm.write(f"{job.title}: {result.error or 'done'} ({format_duration(result.seconds)})")

        if jobs:
            run_jobs(jobs, self.workers, on_finish, "pretraining")
        for title, error in errors.items():
            raise InputError(f"{title}: {error}; its log is in {self.pretraining.folder}")

    def _check_initialisations(self, initialisations: Sequence[Initialisation]) -> None:
        """Load every encoder once to detect errors early."""
        for initialisation in {one.pretrained: one for one in initialisations if one.pretrained}.values():
            try:
                report = load_encoder(
                    self.bundle.encoder(),
                    initialisation.pretrained,
                    expected=self.bundle.card(),
                    test_cases=self._test_cases,
                    allow_test_leakage=self.bundle.value("allow_test_leakage"),
                )
            except InputError as error:
                raise InputError(f"encoders: {initialisation.name}: {error}") from error
            print(report)

    def _run_all(self, plan: Plan) -> dict[str, str]:
        """Run all runs that have not finished successfully; returns the errors of failed runs."""
        records = read_records(self.folder)
        runs = {str(self._run_folder(run)): run for run in plan.runs()}
        waiting = [self._job(run) for run in runs.values() if run.key not in records.runs]
        if len(waiting) < len(runs):
            print(f"{len(runs) - len(waiting)} of {len(runs)} runs are already finished")
        failed: dict[str, str] = {}

        def on_finish(job: Job, result: JobResult) -> None:
            if result.error is not None:
                failed[job.title] = result.error
            self._finish(runs[str(job.folder)], plan.score, result, records)

        run_jobs(waiting, self.workers, on_finish, "study")
        return failed

    def _run_folder(self, run: Run) -> Path:
        return self.folder / "cells" / run.folder

    def _job(self, run: Run) -> Job:
        folder = self._run_folder(run)
        paths = {"models_dir": str(folder / "models"), "output_dir": str(folder / "output")}
        paths["cache_dir"] = str(self.folder / "cache")  # shared by all runs
        settings = {**self.bundle.settings, **run.settings, **paths}
        training = ["train", *self.files]
        workflows = [["train", training], ["eval", [*training, "evaluate"]]]
        return Job(run.title, folder, {"root": str(self.bundle.root), "runs": workflows, "settings": settings})

    def _finish(self, run: Run, score: str, result: JobResult, records: Records) -> None:
        """Record the result of a run, remove its network, and print the score."""
        folder, message = self._run_folder(run), result.error
        records.errors.pop(run.key, None)
        if message is None:
            cases = self._training_cases[run.fraction, run.seed]
            records.runs[run.key] = read_run(folder / "output", score, result.seconds, cases)
            value = read_json(folder / "output/evaluation.json", {"scores": {score: DICTIONARY}})["scores"][score]
            message = f"{score.replace('_', ' ')} {value.get('mean', value.get('value')):.3f}"
            if not self.keep_models:
                shutil.rmtree(folder / "models")
        else:
            records.errors[run.key] = message
        records.write(self.folder)
        tqdm.write(f"{run.title}: {message} ({format_duration(result.seconds)})")


def _seconds_per_step(bundle: BundleConfig) -> float:
    """Measure the duration of a training step of a bundle on samples of its training data."""
    found = bundle.component("inspection").resolve_args()
    shared = ("preprocessing", "random", "network", "loss_function", "autocast", "batch_size")
    return time_step(found["split"]["training"], *(found[name] for name in shared), found.get("task"))
