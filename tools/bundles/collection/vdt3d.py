"""Supervised pretraining with a variable dimension transform (Zhang et al., arXiv 2201.01426)."""

from tools.bundles import common, kinds, pretext, pretraining
from tools.bundles.bundle import Bundle
from tools.bundles.config import Config, component
from tools.bundles.keys import PRETEXT, Key
from tools.bundles.metadata import tensor

METADATA = {
    "name": "Variable dimension transform",
    "task": "Supervised pretraining of 3D encoders on photographs",
    "description": "Pretrains a 3D encoder on labelled photographs: the three colours, in random order, become the "
    "slices of a volume, and the network classifies the photograph. The encoder transfers to segmentation, detection "
    "and classification of volumes.",
    "data_source": "generated photographs by default; any images with a folder per class, such as ImageNet "
    "(the terms of its publisher); in inference any folder of NIfTI, NRRD, MHA or DICOM volumes; licences of the "
    "data: docs/data_license.txt",
    "data_type": "jpeg, png, tiff, bmp; in inference nifti, nrrd, mha, dicom",
    "image_classes": "in pretraining photographs as volumes of three slices, one channel, values 0 to 255, minus "
    "114.495, divided by 57.63 (-1.99 to 2.44); in inference volumes of any depth, resampled to isotropic voxels, "
    "z-score normalised over their non-zero voxels, or with a CT window mapped to -1 to 1",
    "intended_use": "Research: initialisation of networks for tasks with few labels. Not for clinical decisions.",
    "eval_metrics": {
        "data": "80 generated images of the validation split, after the default run; accuracy is the fraction of "
        "images assigned to the correct one of 8 classes",
        "accuracy": 0.3,
        "accuracy_interval_95": [0.212, 0.4],
        "chance": 0.125,
    },
    "references": [
        "Zhang, S. et al. Advancing 3D Medical Image Analysis with Variable Dimension Transform based Supervised 3D "
        "Pre-training. Neurocomputing 2023, arXiv 2201.01426."
    ],
    "network_data_format": {
        "inputs": {"image": tensor("image/magnitude", ["16*n"] * 3, ["image"], modality="MR")},
        "outputs": {"pred": tensor("latent/latent", ["n"] * 3, ["feature"], num_channels=512)},
    },
}


class SupervisedPretraining(Bundle):
    """Bundle of supervised pretraining on photographs, which are not cached."""

    family = PRETEXT
    card_keys = ("encoder", "norm")

    def family_configs(self) -> dict[str, Config]:
        """See `Bundle.family_configs`."""
        train = self._train()
        evaluate = pretraining.evaluate(train)
        del evaluate["val_steps"]  # every image is evaluated once
        return {
            "train": train,
            "evaluate": evaluate | self.card_overrides(),
            "inference": self._inference(),
            "multi_gpu_train": common.multi_gpu(),
        }

    def _train(self) -> Config:
        return {
            **common.header(self.name, "operator", "torch", "monai"),
            "dataset_dir": common.phantoms("photograph_phantoms", "photographs"),
            **self.train_keys,
            **common.startup_checks(),
            **common.folders("@dry_run"),
            "cases": component("tools.data.find_classified_images", "dataset_dir"),
            "classes": component("tools.data.class_names", "cases"),
            "split": component(
                "tools.data.split_classified_images",
                *("cases", "val_fraction", "split_file"),
                output_dir="$None if @dry_run else @output_dir",
            ),
            "preprocessing": component("tools.pretext.vdt.build_photograph_preprocessing", "roi_size", "max_voxels"),
            "random_crop": component(
                "tools.pretext.vdt.RandResizedCropd", keys="image", size="@roi_size", scale="@crop_scale"
            ),
            "network_def": component("tools.networks.build_anisotropic_encoder", "norm", name="@encoder"),
            "pretext_network": component(
                "tools.pretext.vdt.VolumeClassifier", encoder="@network_def", classes="$len(@classes)"
            ),
            **common.prepared_network("@pretext_network"),
            "loss_function": component("torch.nn.CrossEntropyLoss", "label_smoothing"),
            "optimizer": common.sgd("$@learning_rate * @global_batch_size / 256", "@momentum"),
            "scheduler": common.named_schedule("$@lr_warmup_epochs * @steps_per_epoch"),
            "train": self._training(),
            "validate": self._validation(),
            "inspection": common.inspection("@random_crop", cached=False, task="@train#task"),
            "run": common.training_run(prepared=False),
        }

    def _training(self) -> Config:
        dataset = component(
            "tools.data.build_lazy_dataset",
            *("preprocessing", "seed", "skip_bad"),
            data="$@split['training']",
            random="@random_crop",
        )
        card = {"channels": ["photograph (channels as slices)"], "intensity": {"mean": 114.495, "deviation": 57.63}}
        handlers = pretraining.pretraining_handlers(
            self.name,
            card,
            ["$@train#dataset.dataset", "@validate#dataset"],
            ("crop_scale", "label_smoothing", "lr_schedule", "momentum"),
        )
        task = component(
            "tools.pretext.vdt.VariableDimensionTransform", "roi_size", "classes", "depth", "shuffle_channels", "seed"
        )
        return pretraining.training(dataset, task, handlers)

    def _validation(self) -> Config:
        output = "$monai.handlers.from_engine(['pred', 'label'])"
        top5 = component("ignite.metrics.TopKCategoricalAccuracy", k="$min(5, len(@classes))", output_transform=output)
        dataset = component(
            "tools.data.LazyDataset",
            "skip_bad",
            data="$@split['validation']",
            transform="@validate#preprocessing",
            desc="validation",
        )
        loader = common.case_loader(batch_size="@batch_size")
        target = "tools.pretext.vdt.build_photograph_preprocessing"
        reading = component(target, "roi_size", "max_voxels", center_crop=True)
        return {
            "preprocessing": reading,
            **pretraining.validation(dataset, loader, common.validation_loss(), top5_accuracy=top5),
        }

    def _inference(self) -> Config:
        return {
            **common.header(self.name, "torch"),
            "dataset_dir": common.phantoms("brain_phantoms", "brain"),
            **self.from_card(self.infer_keys),
            **common.startup_checks(),
            **common.card("@pretrained"),
            "in_channels": "$len(@channels) if @channels else 1",
            "cases": component("tools.data.find_cases", "dataset_dir", "channels", "include_label_maps"),
            **pretraining.embedding(
                3,
                component(
                    "tools.transforms.build_preprocessing",
                    *("spacing", "hu_window", "max_voxels"),
                    roi_size="@patch_size",
                    channels="@in_channels",
                    inference=True,
                ),
                {},
            ),
        }


BUNDLE = SupervisedPretraining(
    name="vdt3d",
    keys={
        "steps_per_epoch": 15,
        "batch_size": 16,
        "global_batch_size": "$@batch_size * @accumulation_steps * int(os.environ.get('WORLD_SIZE', 1))",
        "learning_rate": 0.1,
        "lr_schedule": "cosine",
        "momentum": 0.9,
        "label_smoothing": 0.1,
        "val_fraction": 0.1,
        "roi_size": [48, 48],
        "crop_scale": [0.25, 1.0],
        "depth": 3,
        "shuffle_channels": True,
        "encoder": "resnet18",
        "norm": "batch",
    },
    new_keys=(
        Key("crop_scale", kinds.RANGE, "minimum and maximum fraction of the image area in a crop"),
        Key("depth", kinds.integer(1), "number of slices made from the colours of a photograph"),
        Key("shuffle_channels", kinds.BOOLEAN, "shuffle the colours randomly"),
    ),
    removed_keys=(
        *("channels", "patient_pattern", "include_label_maps", "hu_window", "cache", "cache_dir", "probe_dir"),
        *("cache_dtype", "prepare_workers", "prepare", "part", "parts"),
        "val_steps",
    ),
    inference_keys=pretext.EMBEDDINGS
    | {"channels": None, "spacing": 3.0, "hu_window": None, "patch_size": [48, 48, 48]},
    paper={
        "epochs": 100,
        "steps_per_epoch": 5004,
        "batch_size": 32,
        "learning_rate": 0.1,
        "lr_schedule": "cosine",
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "lr_warmup_epochs": 0,
        "label_smoothing": 0.1,
        "crop_scale": [0.08, 1.0],
        "roi_size": [224, 224],
        "shuffle_channels": True,
        "num_workers": 8,
    },
    metadata=METADATA,
    data_terms="ImageNet and other sets: the terms of their publishers; weights trained on them may inherit terms.",
)
