"""Configurations of pretraining, of the evaluation of the pretext task, and of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bundles import common
from tools.bundles.config import Config, component, references

#: mean loss over batches of equal size, for predictions and targets of any type
BATCH_LOSS = common.validation_loss(batch_size="$lambda target: 1", skip_unrolling=True)


def training(
    dataset: Config,
    task: Config,
    handlers: Config,
    method_handlers: Mapping[str, Config] | None = None,
    accuracy: bool = True,
) -> Config:
    """Return the entries under ``train``.

    Args:
        dataset: training data.
        task: pretext task.
        handlers: handler of `pretraining_handlers`.
        method_handlers: handlers of the method by name.
        accuracy: whether the task has an accuracy.
    """
    return {
        "dataset": dataset,
        "dataloader": common.step_loader("train", "$@epochs * @steps_per_epoch"),
        "task": task,
        **({"method_handlers": dict(method_handlers)} if method_handlers else {}),
        "inferer": component("SimpleInferer"),
        **_metrics(accuracy, common.mean_loss()),
        "handlers": common.training_handlers(handlers),
        "trainer": common.trainer(prepare_batch="@train#task", additional_metrics="@train#additional_metrics"),
    }


def validation(dataset: Config, dataloader: Config, loss: Config, accuracy: bool = True, **metrics: Config) -> Config:
    """Return the entries under ``validate``.

    Args:
        dataset: validation data.
        dataloader: loader of the validation data.
        loss: metric of the loss.
        accuracy: whether the task has an accuracy; the best model is selected by accuracy, otherwise by loss.
        metrics: further metrics by name.
    """
    lowest = {} if accuracy else {"metric_cmp_fn": "$operator.lt"}
    return {
        "dataset": dataset,
        "dataloader": dataloader,
        "task": "$@train#task.validation()",
        "inferer": component("SimpleInferer"),
        **_metrics(accuracy, loss, **metrics),
        "handlers": [],
        "evaluator": common.validator(prepare_batch="@validate#task", **lowest),
    }


def _metrics(accuracy: bool, loss: Config, **more: Config) -> Config:
    """Return the key metric and additional metrics: accuracy and loss, or only the loss."""
    if not accuracy:
        return {"key_metric": {"loss": loss}, "additional_metrics": more}
    top1 = component("tools.pretext.Top1Accuracy", top1_correct="$@train#task.top1_correct")
    return {"key_metric": {"accuracy": top1}, "additional_metrics": {"loss": loss, **more}}


def pretraining_handlers(
    name: str, data_card: Config, datasets: list[str], compared_keys: Sequence[str], **more: Any
) -> Config:
    """Return the handler `PretrainingHandlers` of a pretraining run.

    Args:
        name: name of the bundle.
        data_card: entries of the encoder's card that describe the images.
        datasets: training and validation data.
        compared_keys: keys whose values must be equal in a resumed run.
        more: further arguments.
    """
    card = {
        "task": name,
        **data_card,
        "roi_size": "@roi_size",
        "patch_size": "$list(@train#task.patch_size)",
        "epochs": "@epochs",
        "seed": "@seed",
    }
    return component(
        "tools.pretext.PretrainingHandlers",
        *("network", "optimizer", "scheduler", "loss_function", "models_dir", "output_dir", "val_interval"),
        *("resume", "pretrained", "split"),
        evaluator="@validate#evaluator",
        task="@train#task",
        validation_task="@validate#task",
        datasets=datasets,
        card=card,
        settings=references("batch_size", "accumulation_steps", "lr_warmup_epochs", *compared_keys),
        **more,
    )


def evaluate(train: Config) -> Config:
    """Return the overrides that evaluate a checkpoint on the validation cases.

    Args:
        train: the training configuration, whose card and settings are compared with the checkpoint.
    """
    trained = train["train"]["handlers"][-1]
    handlers = component(
        "tools.pretext.EvaluationHandlers",
        "network",
        "output_dir",
        task="@validate#task",
        cases="$@split['validation']",
        checkpoint="$@models_dir + '/checkpoint.pt'",
        card=trained["card"],
        settings=trained["settings"],
        loss_function="@loss_function",
        **{key: value for key, value in trained.items() if key == "method_handlers"},
    )
    return {
        "val_steps": 16,
        "split#output_dir": None,
        "train#handlers": [],
        "validate#handlers": [handlers],
        "run": common.run_list("$@validate#evaluator.run()"),
    }


def embedding(spatial_dims: int, preprocessing: Config, expected: Config, **inferer: Any) -> Config:
    """Return the entries of ``inference.json`` that write embeddings of patches.

    Args:
        spatial_dims: number of spatial dimensions of the encoder.
        preprocessing: transforms of an image.
        expected: entries of the encoder's card that must equal the settings of this run.
        inferer: further arguments of the inferer.
    """
    writer = component(
        "tools.pretext.EmbeddingWriter",
        *("output_dir", "inferer", "per_scan"),
        encoder="@network",
        model="@pretrained",
        expected=expected,
    )
    return {
        "network_def": common.encoder(spatial_dims),
        "network": "$@network_def.to(@device)",
        "preprocessing": preprocessing,
        "inferer": component("tools.pretext.PatchEmbedder", "patch_size", "stride", **inferer),
        "handlers": [writer],
        **common.inference_engine(decollate=False),
    }
