"""Shared parts of the supervised families: fine-tuning, evaluation, split with test cases, and study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tools.bundles import common
from tools.bundles.bundle import Bundle
from tools.bundles.config import Config, component, references
from tools.bundles.keys import study_defaults

#: folder of the weights in the repository and in releases
SHIPPED = "$@bundle_root + '/models'"
#: folder of an image that these weights can process
EXAMPLE = "$@bundle_root + '/docs/example'"
#: for metadata
INTENDED_USE = "Research: baseline, and measurement of the effect of pretraining. Not for clinical decisions."


@dataclass(frozen=True, kw_only=True)
class Downstream(Bundle):
    """Base class of supervised bundles; subclasses define training, evaluation and inference."""

    @property
    def bundle_keys(self) -> Config:
        """See `Bundle.bundle_keys`."""
        return super().bundle_keys | ({"models_dir": "$@output_dir + '/models'"} if self.ships_weights else {})

    @property
    def shipped(self) -> Config:
        """Key of the folder of the shipped weights, for evaluation and inference; empty if there are none."""
        return {"models_dir": SHIPPED} if self.ships_weights else {}

    def family_configs(self) -> dict[str, Config]:
        """See `Bundle.family_configs`."""
        return {
            "train": self._train(),
            "evaluate": self._evaluate(),
            "inference": self._inference(),
            "multi_gpu_train": multi_gpu(),
            "study": study(self.name),
        }


def split(target: str, *names: str, **arguments: Any) -> Config:
    """Split into training, validation and test cases by `target`."""
    return component(
        target,
        *("cases", *names, "val_fraction", "test_fraction", "label_fraction", "fold", "seed", "split_file"),
        output_dir="$None if @dry_run or @prepare else @output_dir",
        **arguments,
    )


def hashed_test_cases() -> Config:
    """Return the function that returns the voxel hashes of the test cases."""
    return component(
        "tools.transforms.hash_cases", "preprocessing", "skip_bad", _mode_="callable", cases="$@split['test']"
    )


def finetuning_handlers(
    name: str, card: Config, compared_keys: Sequence[str], figures: Config, epochs: str = "@epochs", **more: Any
) -> Config:
    """Return the handler `FinetuningHandlers` of a fine-tuning run.

    Args:
        name: name of the bundle.
        card: entries of the network's card.
        compared_keys: keys whose values must be equal in a resumed run.
        figures: handler that plots validation cases.
        epochs: number of epochs.
        more: further arguments.
    """
    return component(
        "tools.training.FinetuningHandlers",
        *("network", "optimizer", "scheduler", "loss_function", "test_cases", "models_dir", "output_dir"),
        *("protocol", "freeze_epochs", "pretrained", "allow_test_leakage", "val_interval", "resume", "split"),
        evaluator="@validate#evaluator",
        datasets=["@train#dataset", "@validate#dataset"],
        card={"task": name, **card, "epochs": epochs, "seed": "@seed"},
        settings=references("batch_size", "accumulation_steps", "lr_warmup_epochs", "label_fraction", *compared_keys),
        figures=[figures],
        **more,
    )


def training(
    random: str | None, handlers: Config, epochs: str = "@epochs", *more_handlers: Config, **more: Any
) -> Config:
    """Return the entries under ``train``.

    Args:
        random: random transforms.
        handlers: handler of `finetuning_handlers`.
        epochs: number of epochs.
        more_handlers: handlers to attach before `handlers`.
        more: further arguments of the trainer.
    """
    return {
        "dataset": common.cached_dataset(
            "training", "training", "@seed", preprocessing="@preprocessing", random=random
        ),
        "dataloader": common.step_loader("train", f"${epochs} * @steps_per_epoch"),
        "inferer": component("SimpleInferer"),
        "key_metric": {"loss": common.mean_loss()},
        "handlers": common.training_handlers(*more_handlers, handlers),
        "trainer": common.trainer(**more),
    }


def model_loader(name: str, expected: Config, **more: Any) -> Config:
    """Return the handler that loads the trained network.

    Args:
        name: name of the bundle.
        expected: entries of the network's card that must equal the settings of this run.
        more: further arguments.
    """
    return component(
        "tools.training.ModelLoader",
        "network",
        path=common.MODEL,
        train_with=f"python -m monai.bundle run --config_file bundles/{name}/configs/train.json",
        expected=expected,
        **more,
    )


def evaluate(report: Config, **entries: Any) -> Config:
    """Return the overrides that evaluate the trained network on the test cases.

    Args:
        report: handler that computes the scores.
        entries: further overrides.
    """
    return {
        "split#output_dir": None,
        "split#label_fraction": 1.0,
        "validate#key_metric": None,
        "validate#additional_metrics": None,
        "train#handlers": [],
        "validate#handlers": [report],
        **entries,
        "run": common.run_list("$@validate#evaluator.run()"),
    }


def evaluate_prepared(report: Config, **entries: Any) -> Config:
    """Return the overrides of `evaluate` with the preprocessing of validation cases."""
    return evaluate(report, **{"validate#dataset#data": "$@split['test']", "validate#dataset#desc": "test"}, **entries)


def leakage_check(expected: str) -> Config:
    """Return the arguments of `model_loader` that check the test cases for leakage."""
    return {"test_cases": expected, "allow_test_leakage": "@allow_test_leakage"}


def multi_gpu() -> Config:
    """Return the overrides for fine-tuning on several GPUs or processes."""
    frozen = common.multi_gpu(find_unused_parameters="$@protocol not in ('scratch', 'finetune')")
    return {**frozen, "validate#evaluator#network": "$@network.module"}


def study(name: str) -> Config:
    """Return the configuration of a study that compares initialisations."""
    keys = study_defaults()
    arguments = [key for key in keys if key != "dry_run"]
    return {
        **common.header(name),
        **keys,
        **common.startup_checks(),
        "study": component("tools.study.study.Study", "bundle_root", *arguments),
        "run": common.run_list("$@study.run(@dry_run)"),
    }
