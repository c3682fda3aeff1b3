"""What the families that learn from labels share: transfer from an encoder, split with test cases, study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tools.bundles import common
from tools.bundles.bundle import Bundle
from tools.bundles.config import Config, component, references
from tools.bundles.keys import study_defaults

#: terms of the data and use, for metadata
INTENDED_USE = "Research: a baseline and a measure of what pretraining buys. Not for clinical decisions."


class Downstream(Bundle):
    """A bundle that learns from labels; a family says how it trains, evaluates and infers."""

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
    """Split into training, validation and test cases."""
    return component(
        target,
        *("cases", *names, "val_fraction", "test_fraction", "label_fraction", "fold", "seed", "split_file"),
        output_dir="$None if @dry_run else @output_dir",
        **arguments,
    )


def hashed_test_cases() -> Config:
    """Function that reads the test cases and hashes their voxels."""
    return component(
        "tools.transforms.hash_cases", "preprocessing", "skip_bad", _mode_="callable", cases="$@split['test']"
    )


def finetuning_handlers(
    name: str, card: Config, compared: Sequence[str], figures: Config, epochs: str = "@epochs", **more: Any
) -> Config:
    """Handlers of a fine-tuning run.

    Args:
        name: name of the bundle.
        card: entries of the network's card.
        compared: keys that a resumed run must agree in.
        figures: handler that draws validation cases.
        epochs: length of the run.
        more: further arguments.
    """
    return component(
        "tools.training.FinetuningHandlers",
        *("network", "optimizer", "scheduler", "loss_function", "test_cases", "models_dir", "output_dir"),
        *("protocol", "freeze_epochs", "pretrained", "allow_test_leakage", "val_interval", "resume", "split"),
        evaluator="@validate#evaluator",
        datasets=["@train#dataset", "@validate#dataset"],
        card={"task": name, **card, "epochs": epochs, "seed": "@seed"},
        settings=references("batch_size", "accumulation_steps", "lr_warmup_epochs", "label_fraction", *compared),
        figures=[figures],
        **more,
    )


def training(
    random: str | None, handlers: Config, epochs: str = "@epochs", *more_handlers: Config, **more: Any
) -> Config:
    """Entries under ``train``.

    Args:
        random: random transforms.
        handlers: handlers of the run.
        epochs: length of the run.
        more_handlers: handlers before those.
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
    """Handler that loads the trained network.

    Args:
        name: name of the bundle.
        expected: entries of the network's card that must agree.
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
    """Overrides that score the trained network on the test cases.

    Args:
        report: handler that scores, without its model.
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
    """The same, on test cases prepared as validation cases are."""
    return evaluate(report, **{"validate#dataset#data": "$@split['test']", "validate#dataset#desc": "test"}, **entries)


def unseen(expected: str) -> Config:
    """Arguments of `model_loader` for test cases that must be unseen."""
    return {"test_cases": expected, "allow_test_leakage": "@allow_test_leakage"}


def multi_gpu() -> Config:
    """Overrides that fine-tune on several processes."""
    frozen = common.multi_gpu(find_unused_parameters="$@protocol in ('freeze_then_finetune', 'frozen', 'linear')")
    return {**frozen, "validate#evaluator#network": "$@network.module"}


def study(name: str) -> Config:
    """Configuration of a study of initialisations."""
    keys = study_defaults()
    arguments = [key for key in keys if key != "dry_run"]
    return {
        **common.opening(name),
        **keys,
        **common.guards(),
        "study": component("tools.study.study.Study", "bundle_root", *arguments),
        "run": common.run_list("$@study.run(@dry_run)"),
    }
