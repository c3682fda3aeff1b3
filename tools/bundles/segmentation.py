"""Bundle family of segmentation of volumes, or of their slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tools.bundles import common, downstream
from tools.bundles.config import Config, component, references
from tools.bundles.keys import SEGMENTATION

#: number of epochs, also if MONAI Label or a study sets it on the trainer
EPOCHS = "@train#trainer#max_epochs"
VALUES = "$list(@trained_labels.values())"
#: entries of the network's card that describe the preprocessing
EXPECTED = {
    "channels": "$@channel_names or ['image'] * @in_channels",
    **references("slice_axis", "spacing"),
    "intensity": references("hu_window"),
}


@dataclass(frozen=True, kw_only=True)
class Segmentation(downstream.Downstream):
    """Bundle of segmentation.

    Attributes:
        phantoms: function of `tools.phantoms` that generates the default data.
        labels: component that returns the stored value of each label in the training data.
        label_manager: component that maps labels to channels of the network.
        default_labels: stored value of each label in inference, if the model's card has none.
        background: component that returns further stored values of the background.
    """

    family = SEGMENTATION
    card_keys = (
        "labels",
        "protocol",
        "encoder",
        "norm",
        "in_channels",
        "spacing",
        "hu_window",
        "slice_axis",
        "roi_size",
    )

    phantoms: str
    labels: Config
    label_manager: Config
    default_labels: Config
    background: Config = field(default_factory=dict)

    def family_configs(self) -> dict[str, Config]:
        """See `Bundle.family_configs`."""
        slices = {"slice_axis": 2, "roi_size": [64, 64], "batch_size": 8, "num_samples": 2}
        return super().family_configs() | {"slices": slices}

    @property
    def bundle_inference_keys(self) -> Config:
        """See `Bundle.bundle_inference_keys`."""
        folder = {"output_dir": "$@bundle_root + '/output/segmentations'"}
        return folder | {"labels": self.default_labels} | self.shipped | self.inference_keys

    @property
    def _background(self) -> Config:
        return references("background_values") if self.background else {}

    @property
    def _data(self) -> Config:
        return common.phantoms(self.phantoms, self.name)

    def _networks(self) -> Config:
        return {
            "label_manager": self.label_manager,
            "encoder_def": common.encoder("$len(@roi_size)"),
            "network_def": component(
                "tools.networks.build_segmenter",
                "protocol",
                encoder="@encoder_def",
                out_channels="$@label_manager.out_channels",
            ),
        }

    @property
    def bundle_keys(self) -> Config:
        """See `Bundle.bundle_keys`."""
        return common.PLAN_KEYS | super().bundle_keys

    def _train(self) -> Config:
        config = self._train_without_plan()
        parts = [config[key] for key in ("encoder_def", "network_def")]
        settings = references("num_samples", "trained_labels")
        return common.plan(config, self.train_keys, parts, settings=settings, slice_axis="@slice_axis")

    def _train_without_plan(self) -> Config:
        return {
            **common.header(self.name, "operator", "torch", "monai"),
            "dataset_dir": self._data,
            **self.train_keys,
            **common.startup_checks(),
            **common.folders(),
            "cases": component("tools.data.find_labelled_cases", "dataset_dir", "channels", "patient_pattern"),
            "labels": self.labels,
            "trained_labels": component("tools.transfer.match_labels", "labels", card=None),
            **({"background_values": self.background} if self.background else {}),
            "split": downstream.split("tools.data.split_labelled_cases"),
            "channel_names": component("tools.data.channel_names", "dataset_dir", "channels"),
            "in_channels": "$len(@channel_names or ['image'])",
            "preprocessing": preprocessing(label_values=VALUES, **self._background),
            "random_crops": component(
                "tools.segmentation.build_segmentation_crops",
                *("roi_size", "slice_axis", "flip_axes", "spatial_aug"),
                num_labels="$len(@trained_labels)",
                num_samples="@num_samples",
                intensity_aug="@intensity_aug",
            ),
            "test_cases": downstream.hashed_test_cases(),
            **self._networks(),
            **common.prepared_network("@network_def"),
            "loss_function": component("tools.segmentation.DiceCELoss", "label_manager"),
            "optimizer": common.adamw(),
            "scheduler": common.warmup_cosine(EPOCHS),
            "train": self._training(),
            "validate": validation(),
            "preparation": common.preparation("@validate#preprocessing"),
            "inspection": common.inspection("@random_crops"),
            "run": common.training_run(),
        }

    def _training(self) -> Config:
        card = {
            "labels": "@trained_labels",
            "channels": "$@channel_names or ['image'] * @in_channels",
            "orientation": "RAS",
            **references("slice_axis", "spacing"),
            "intensity": references("hu_window"),
            "roi_size": "@roi_size",
        }
        figures = component("tools.segmentation.BestWorstFigure", "output_dir", "label_manager")
        compared_keys = ("num_samples", "flip_axes", "spatial_aug", "intensity_aug", "sw_overlap")
        handlers = downstream.finetuning_handlers(self.name, card, compared_keys, figures, EPOCHS)
        return downstream.training("@random_crops", handlers, EPOCHS)

    def _evaluate(self) -> Config:
        expected = {**EXPECTED, "roi_size": "@roi_size"}
        report = component(
            "tools.segmentation.SegmentationReport",
            *("label_manager", "output_dir"),
            model=downstream.model_loader(self.name, expected, **downstream.leakage_check("@test_cases")),
            label_values=VALUES,
            **self._background,
        )
        return downstream.evaluate(
            report,
            **self.shipped,
            **self.card_overrides(),
            **{
                "trained_labels#card": "@card",
                "test_cases#_mode_": "default",
                "validate#preprocessing": preprocessing(inference=True),
                "validate#dataset": component("Dataset", data="@test_cases", transform="@validate#preprocessing"),
                "validate#dataloader": common.single_case_loader("@validate#dataset"),
                "validate#postprocessing": postprocessing(),
                "validate#evaluator#decollate": True,
            },
        )

    def _inference(self) -> Config:
        writer = component(
            "tools.segmentation.SegmentationWriter",
            *("label_manager", "output_dir"),
            model=downstream.model_loader(self.name, EXPECTED),
            label_values=VALUES,
        )
        return {
            **common.header(self.name, "torch"),
            "dataset_dir": downstream.EXAMPLE if self.ships_weights else self._data,
            **self.from_card(self.infer_keys),
            **common.startup_checks(),
            **common.card(common.MODEL),
            "trained_labels": component("tools.transfer.match_labels", "labels", "card", same_values=True),
            "cases": component("tools.data.find_cases", "dataset_dir", "channels", "include_label_maps"),
            "channel_names": component("tools.data.channel_names", "dataset_dir", "channels"),
            **self._networks(),
            "network": "$@network_def.to(@device)",
            "preprocessing": preprocessing(inference=True),
            "postprocessing": postprocessing(label_values=VALUES),
            "inferer": inferer(),
            "handlers": [writer],
            **common.inference_engine(postprocessing="@postprocessing"),
        }


def preprocessing(**more: Any) -> Config:
    """Return the deterministic transforms of a case."""
    names = ("roi_size", "spacing", "hu_window", "slice_axis", "max_voxels")
    return component("tools.segmentation.build_segmentation_preprocessing", *names, channels="@in_channels", **more)


def postprocessing(**more: Any) -> Config:
    """Return the transforms of the network's output."""
    return component("tools.segmentation.build_segmentation_postprocessing", "label_manager", **more)


def inferer() -> Config:
    """Return a sliding-window inferer for volumes or slices."""
    return component("tools.segmentation.build_sliding_window_inferer", "roi_size", "slice_axis", overlap="@sw_overlap")


def validation() -> Config:
    """Return the entries under ``validate``."""
    return {
        "preprocessing": "@preprocessing",
        "inferer": inferer(),
        "dataset": common.cached_dataset("validation", "validation", preprocessing="@validate#preprocessing"),
        "dataloader": common.case_loader(),
        "key_metric": {"mean_dice": component("tools.segmentation.CaseDice", "label_manager")},
        "additional_metrics": {"loss": common.validation_loss()},
        "handlers": [],
        "postprocessing": None,
        "evaluator": common.validator(postprocessing="@validate#postprocessing"),
    }
