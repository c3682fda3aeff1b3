"""Bundle family of image classification and grading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.bundles import common, downstream
from tools.bundles.config import Config, component
from tools.bundles.keys import CLASSIFICATION


@dataclass(frozen=True, kw_only=True)
class Classification(downstream.Downstream):
    """Bundle of image classification or grading.

    Attributes:
        phantoms: component that generates the default data.
        cases: component that lists labelled images.
        inference_cases: component that lists images without labels.
        split: component of the split.
        preprocessing: component of the deterministic transforms.
        center_crop: further arguments of these transforms in validation and inference.
        augmentation: component of the random transforms.
        spatial_dims: 2 or 3.
        in_channels: number of image channels.
        out_channels: number of outputs of the network.
        loss: component of the loss.
        metric: key metric by name.
        card: entries of the network's card.
        compared_keys: keys whose values must be equal in a resumed run.
        expected: entries of the card that must equal the settings of inference.
        handlers: class names of the handlers of figures in validation, test scores, and predictions.
        report_arguments: arguments of the handlers of test scores and predictions.
        writer: further arguments of the handler of predictions.
    """

    family = CLASSIFICATION
    card_keys = ("encoder", "norm", "in_channels", "roi_size", "local_contrast", "head_channels")

    phantoms: Config
    cases: Config
    inference_cases: Config
    split: Config
    preprocessing: Config
    center_crop: Config = field(default_factory=dict)
    augmentation: Config
    spatial_dims: int
    in_channels: int | str
    out_channels: int
    loss: Config
    metric: Config
    card: Config
    compared_keys: Sequence[str]
    expected: Config
    handlers: tuple[str, str, str]
    report_arguments: Config = field(default_factory=dict)
    writer: Config = field(default_factory=dict)

    def _networks(self) -> Config:
        return {
            "encoder_def": common.encoder(self.spatial_dims, self.in_channels),
            "network_def": component(
                "tools.networks.ClassificationNetwork",
                encoder="@encoder_def",
                out_channels=self.out_channels,
                hidden_channels="@head_channels",
                dropout="@head_dropout",
            ),
        }

    def _train(self) -> Config:
        figures = component(f"tools.classification.{self.handlers[0]}", "output_dir")
        compared_keys = ("fold", *self.compared_keys, "head_dropout")
        card = {**self.card, "head_channels": "@head_channels"}
        handlers = downstream.finetuning_handlers(self.name, card, compared_keys, figures)
        return {
            **common.header(self.name, "operator", "torch", "monai"),
            "dataset_dir": self.phantoms,
            **self.train_keys,
            **common.startup_checks(),
            **common.folders(),
            "cases": self.cases,
            "split": self.split,
            "preprocessing": self.preprocessing,
            "augmentation": self.augmentation,
            "test_cases": downstream.hashed_test_cases(),
            **self._networks(),
            **common.prepared_network("@network_def"),
            "loss_function": self.loss,
            "optimizer": common.adamw(),
            "scheduler": common.warmup_cosine("@epochs"),
            "train": downstream.training("@augmentation", handlers),
            "validate": self._validation(),
            "preparation": common.preparation("@validate#preprocessing"),
            "inspection": common.inspection("@augmentation"),
            "run": common.training_run(),
        }

    def _validation(self) -> Config:
        return {
            "preprocessing": {**self.preprocessing, **self.center_crop} if self.center_crop else "@preprocessing",
            "inferer": component("SimpleInferer"),
            "dataset": common.cached_dataset("validation", "validation", preprocessing="@validate#preprocessing"),
            "dataloader": common.case_loader(batch_size="@batch_size"),
            "key_metric": self.metric,
            "additional_metrics": {"loss": common.validation_loss()},
            "handlers": [],
            "evaluator": common.validator(),
        }

    def _evaluate(self) -> Config:
        check = downstream.leakage_check("$@validate#dataset.hashes")
        loader = downstream.model_loader(self.name, self.expected, **check)
        report = component(
            f"tools.classification.{self.handlers[1]}", "output_dir", model=loader, **self.report_arguments
        )
        return downstream.evaluate_prepared(report, **self.card_overrides())

    def _inference(self) -> Config:
        loader = downstream.model_loader(self.name, self.expected)
        target = f"tools.classification.{self.handlers[2]}"
        writer = component(target, "output_dir", model=loader, **self.report_arguments, **self.writer)
        return {
            **common.header(self.name, "torch"),
            "dataset_dir": self.phantoms,
            **self.from_card(self.infer_keys),
            **common.startup_checks(),
            **common.card(common.MODEL),
            "cases": self.inference_cases,
            **self._networks(),
            "network": "$@network_def.to(@device)",
            "preprocessing": {**self.preprocessing, **self.center_crop, "inference": True},
            "inferer": component("SimpleInferer"),
            "handlers": [writer],
            **common.inference_engine(decollate=False),
        }


def table_keys() -> Config:
    """Return the keys of a label table with their defaults."""
    return dict.fromkeys(("label_file", "image_column", "label_column", "patient_column"))


def labelled_cases(target: str) -> Config:
    """List of images with labels from a table."""
    return component(target, "dataset_dir", *table_keys())
