"""Bundle family of self-supervised pretraining, on volumes (3D) or on photographs and slices (2D)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.bundles import common
from tools.bundles.bundle import Bundle, recorded
from tools.bundles.config import Config, component, references
from tools.bundles.keys import AS_IN_TRAINING, PRETEXT, Key
from tools.bundles.pretext_method import Method, method_metadata
from tools.bundles.pretraining import BATCH_LOSS, embedding, evaluate, pretraining_handlers, training, validation

DATA_TERMS = "Scans keep their own licences; weights trained on them may inherit terms."
#: number of validation images: those that are drawn, and at least 16, of which some may be unusable
DRAWN = "$max(16, @val_steps * @batch_size * int(os.environ.get('WORLD_SIZE', 1)))"
EMBEDDINGS = {"output_dir": "$@bundle_root + '/output/embeddings'"}
#: keys of 2D images, with their defaults
KEYS_2D = {"slice_axis": None, "resize_shorter_edge": 128, "spacing": 1.0, "roi_size": [96, 96]}
#: keys of volumes, with their defaults
KEYS_3D = {**common.PLAN_KEYS, "max_quality_score": None}
#: settings of all methods in the public code of Taleb et al. (HealthML/self-supervised-3d-tasks, commit ecc86ef)
PAPER = {
    "epochs": 1000,
    "steps_per_epoch": 100,
    "weight_decay": 0.0,
    "lr_warmup_epochs": 0,
    "val_steps": 16,
    "val_fraction": 0.1,
    "num_workers": 4,
    "cache": "disk",
}
PAPER_3D = {"learning_rate": 0.0001, "spacing": 1.0, "roi_size": [128, 128, 128]}
PAPER_2D = {"learning_rate": 1e-05, "resize_shorter_edge": 224, "roi_size": [224, 224], "encoder": "densenet121"}


@dataclass(frozen=True, kw_only=True)
class Pretext(Bundle):
    """Bundle of a pretext method.

    Attributes:
        method: pretext method.
        spatial_dims: 2 or 3.
        substitutions: values of the placeholders in the texts of the method.
        results: accuracy, 95 % interval and chance level after the default run, for metadata; None without accuracy.
    """

    family = PRETEXT
    card_keys = (
        "encoder",
        "norm",
        "spacing",
        "hu_window",
        "slice_axis",
        "resize_shorter_edge",
        "roi_size",
        "patch_size",
    )

    method: Method
    spatial_dims: int
    substitutions: Mapping[str, str] = field(default_factory=dict)
    results: tuple[float, tuple[float, float], float] | None = None
    paper: Config = field(default_factory=dict)
    data_terms: str = DATA_TERMS

    @property
    def is_2d(self) -> bool:
        """Whether images are 2D."""
        return self.spatial_dims == 2

    @property
    def compared_keys(self) -> list[str]:
        """Keys of network, loss and handlers whose values must be equal in a resumed run, in addition to the task's."""
        method = self.method
        found = [key for part in (method.network, method.loss, *method.handlers.values()) for key in _keys_in(part)]
        return [
            key for key in dict.fromkeys(found) if key in self.train_keys.keys() - {*_keys_in(method.task), "device"}
        ]

    @property
    def declared_keys(self) -> tuple[Key, ...]:
        """See `Bundle.declared_keys`."""
        return (*self.method.new_keys, *self.new_keys)

    @property
    def slice_arguments(self) -> Config:
        """Arguments of components that read slices of volumes."""
        return references("slice_axis") if self.is_2d else {}

    @property
    def bundle_keys(self) -> Config:
        """See `Bundle.bundle_keys`."""
        return (KEYS_2D if self.is_2d else KEYS_3D) | self.method.keys | self.keys

    @property
    def bundle_inference_keys(self) -> Config:
        """See `Bundle.bundle_inference_keys`."""
        image_keys = dict.fromkeys(("slice_axis", "resize_shorter_edge"), AS_IN_TRAINING) if self.is_2d else {}
        return EMBEDDINGS | image_keys | self.inference_keys

    def family_configs(self) -> dict[str, Config]:
        """See `Bundle.family_configs`."""
        train = self._train()
        return {
            "train": train,
            "evaluate": evaluate(train) | self.card_overrides(),
            "inference": self._inference(),
            "multi_gpu_train": common.multi_gpu(),
            "paper": PAPER | (PAPER_2D if self.is_2d else PAPER_3D) | self.paper,
        }

    @property
    def _phantoms(self) -> Config:
        kind = "fundus" if self.is_2d else "brain"
        return common.phantoms(f"{kind}_phantoms", kind)

    def _images(self, *options: str) -> Config:
        """Return the entries of cases and channel names; `options` are further keys of the component of cases."""
        cases, channels = ("find_images", "image_channels") if self.is_2d else ("find_cases", "channel_names")
        arguments = references("dataset_dir") | self.slice_arguments | references("channels")
        return {
            "cases": component(f"tools.data.{cases}", **arguments, **references(*options)),
            "channel_names": component(f"tools.data.{channels}", **arguments),
        }

    def _preprocessing(self, roi_size: str, **more: Any) -> Config:
        sizes = references("slice_axis", "resize_shorter_edge") if self.is_2d else {}
        target = "tools.transforms.build_preprocessing"
        names = ("spacing", "hu_window", "max_voxels")
        return component(target, *names, roi_size=roi_size, channels="@in_channels", **sizes, **more)

    def _space(self) -> Config:
        """Return the entries of the encoder's card that describe orientation and spacing."""
        if not self.is_2d:
            return {"orientation": "RAS", "spacing": "@spacing"}
        return {
            "slice_axis": "@slice_axis",
            "orientation": "$None if @slice_axis is None else 'RAS'",
            "spacing": "$None if @slice_axis is None else @spacing",
            "resize_shorter_edge": "$@resize_shorter_edge if @slice_axis is None else None",
        }

    def _data_card(self) -> Config:
        channels = "$@channel_names or ['image'] * @in_channels"
        return {"channels": channels, **self._space(), "intensity": references("hu_window")}

    def _train(self) -> Config:
        config = self._train_without_plan()
        if self.is_2d:
            return config
        parts = [config[key] for key in ("network_def", "pretext_network")] + [self.method.task]
        isotropic = {"isotropic": True} if self.method.isotropic else {}
        return common.plan(config, self.train_keys, parts, **isotropic)

    def _train_without_plan(self) -> Config:
        method = self.method
        return {
            **common.header(self.name, "operator", "torch", "monai"),
            "dataset_dir": self._phantoms,
            **self.train_keys,
            **common.startup_checks(),
            **common.folders(),
            **self._images("patient_pattern", "include_label_maps", *(() if self.is_2d else ("max_quality_score",))),
            "split": component(
                "tools.data.split_cases",
                "cases",
                "val_fraction",
                "split_file",
                output_dir="$None if @dry_run or @prepare else @output_dir",
            ),
            "preprocessing": self._preprocessing("@roi_size", **({"isotropic": True} if method.isotropic else {})),
            "random_crop": component("tools.transforms.build_random_crop", "roi_size", **self.slice_arguments),
            "probe": component(
                "tools.pretext.probe.LinearProbe",
                "probe_dir",
                "preprocessing",
                "roi_size",
                "channels",
                "seed",
                "skip_bad",
                _disabled_="$@probe_dir is None",
                patch_size="$@train#task.patch_size",
                **self.slice_arguments,
            ),
            "in_channels": "$len(@channel_names or ['image'])",
            "network_def": common.encoder(self.spatial_dims),
            "pretext_network": {**method.network, "encoder": "@network_def"},
            **common.prepared_network("@pretext_network"),
            "loss_function": method.loss,
            "optimizer": common.adamw(),
            "scheduler": common.warmup_cosine("@epochs"),
            "train": self._training(),
            "validate": validation(
                common.cached_dataset(
                    "validation",
                    "validation",
                    "$@seed + 1",
                    preprocessing="@preprocessing",
                    random="@random_crop",
                    max_cases=DRAWN,
                ),
                common.step_loader("validate", "@val_steps"),
                BATCH_LOSS,
                accuracy=self.method.accuracy is not None,
            ),
            "preparation": common.preparation(max_val_cases=DRAWN),
            "inspection": common.inspection("@random_crop", task="@train#task", probe="@probe"),
            "run": common.training_run(),
        }

    def _training(self) -> Config:
        dataset = common.cached_dataset(
            "training", "training", "@seed", preprocessing="@preprocessing", random="@random_crop"
        )
        handlers = pretraining_handlers(
            self.name,
            self._data_card(),
            ["$@train#dataset.dataset", "$@validate#dataset.dataset"],
            ("val_steps", *self.compared_keys),
            probe="@probe",
            **({"method_handlers": "@train#method_handlers"} if self.method.handlers else {}),
        )
        task, own = {**self.method.task, "seed": "@seed"}, self.method.handlers
        return training(dataset, task, handlers, own, self.method.accuracy is not None)

    def _inference(self) -> Config:
        standardised = {"standardised": True} if self.method.standardised else {}
        channels = "3 if @slice_axis is None else 1" if self.is_2d else "1"
        return {
            **common.header(self.name, "torch"),
            "dataset_dir": self._phantoms,
            **self.from_card(self.infer_keys),
            **common.startup_checks(),
            **common.card("@pretrained"),
            **self._images("include_label_maps"),
            "in_channels": recorded("in_channels", f"$len(@channels) if @channels else {channels}"),
            **embedding(
                self.spatial_dims,
                self._preprocessing("@patch_size", inference=True),
                {**self._data_card(), "patch_size": "@patch_size"},
                **standardised,
                **self.slice_arguments,
            ),
        }

    def family_metadata(self) -> Config:
        """See `Bundle.family_metadata`."""
        return method_metadata(self.method, self.spatial_dims, self.substitutions, self.results)


def _keys_in(part: Config) -> list[str]:
    return [value[1:] for value in part.values() if isinstance(value, str) and value[:1] == "@" and value != "@code"]
