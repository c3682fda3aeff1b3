"""Bundle family of lesion detection in stacks of slices."""

from __future__ import annotations

from tools.bundles import common, downstream
from tools.bundles.config import Config, component, references
from tools.bundles.keys import DETECTION

#: intensity normalisation: the HU window is mapped to 0 to 255, then standardised
INTENSITY = {"window": [-1024.0, 1050.0], "mean": 123.675, "deviation": 58.395}
STACK = ("num_slices", "slice_spacing", "image_size")
EXPECTED = (*STACK, "depth_pooling", "fpn_channels")
BOXES = ("topk_candidates_per_level", "detections_per_img")
#: arguments of the box selection
SELECTION = {
    "topk_candidates_per_level": "@topk_candidates_per_level",
    "detections_per_img": "@detections_per_img",
    "nms_thresh": "@nms_thresh",
}


class Detection(downstream.Downstream):
    """Bundle of lesion detection."""

    family = DETECTION
    card_keys = ("encoder", "norm", *EXPECTED)

    @property
    def bundle_inference_keys(self) -> Config:
        """See `Bundle.bundle_inference_keys`."""
        return {"output_dir": "$@bundle_root + '/output/detections'"} | self.inference_keys

    @property
    def _data(self) -> Config:
        return common.phantoms(f"{self.name}_phantoms", self.name, size=96)

    def _networks(self) -> Config:
        return {
            "encoder_def": component("tools.networks.build_stack_encoder", "norm", name="@encoder"),
            "network_def": component(
                "tools.detection.DetectionNetwork",
                *("num_slices", "depth_pooling"),
                encoder="@encoder_def",
                channels="@fpn_channels",
            ),
        }

    def _train(self) -> Config:
        return {
            **common.header(self.name, "operator", "torch", "monai"),
            "dataset_dir": self._data,
            **self.train_keys,
            **common.startup_checks(),
            **common.folders(),
            "cases": component("tools.data.find_lesions", "dataset_dir", "annotations", "skip_bad"),
            "split": downstream.split("tools.data.split_official_cases", "split_by"),
            "preprocessing": component("tools.detection.build_stack_preprocessing", *STACK),
            "test_cases": downstream.hashed_test_cases(),
            **self._networks(),
            **common.prepared_network("@network_def"),
            "detector": component(
                "tools.detection.Detector",
                *("sampling", "positive_fraction"),
                strides="$@network_def.strides",
                num_candidates="@atss_num_candidates",
                ignore_iou_thresh="@ignore_iou_thresh",
                batch_size_per_image="@batch_size_per_image",
                **SELECTION,
            ),
            "loss_function": component("tools.detection.DetectionLoss", "detector", "box_loss_weight"),
            "optimizer": common.adamw(),
            "scheduler": common.named_schedule("$int(@lr_warmup_epochs * @steps_per_epoch)", milestones="@milestones"),
            "train": self._training(),
            "validate": validation(),
            "preparation": common.preparation(),
            "inspection": common.inspection(None, task="@train#task"),
            "run": common.training_run(),
        }

    def _training(self) -> Config:
        card = {
            "labels": ["lesion"],
            "channels": ["CT"],
            "slice_axis": 2,
            **references(*EXPECTED),
            "intensity": INTENSITY,
            "roi_size": "$[@num_slices, @image_size, @image_size]",
        }
        compared_keys = (
            *("split_by", "lr_schedule", "milestones", "max_grad_norm", "train_sizes", "flip_prob", "fold"),
            *("batch_size_per_image", "positive_fraction", "match_metric", "match_thresh", "atss_num_candidates"),
            *("sampling", "box_loss_weight", "ignore_iou_thresh", *BOXES, "nms_thresh", "exclude_noisy"),
        )
        figures = component("tools.detection.LesionFigure", "output_dir", "match_metric", "match_thresh")
        handlers = downstream.finetuning_handlers(self.name, card, compared_keys, figures, task="@train#task")
        clip = component("tools.training.GradientClipping", "network", max_norm="@max_grad_norm")
        views = component(
            "tools.detection.StackAugmentation",
            "seed",
            sizes="@train_sizes",
            size_divisible="$@network_def.strides[-1]",
            flip_prob="@flip_prob",
        )
        return {"task": views, **downstream.training(None, handlers, "@epochs", clip, prepare_batch="@train#task")}

    def _evaluate(self) -> Config:
        check = downstream.leakage_check("$@validate#dataset.hashes")
        report = component(
            "tools.detection.DetectionReport",
            *("output_dir", "match_metric", "match_thresh", "exclude_noisy"),
            model=downstream.model_loader(self.name, references(*EXPECTED), **check),
        )
        return downstream.evaluate_prepared(report, **self.card_overrides())

    def _inference(self) -> Config:
        loader = downstream.model_loader(self.name, references(*EXPECTED))
        return {
            **common.header(self.name, "torch"),
            "dataset_dir": self._data,
            **self.from_card(self.infer_keys),
            **common.startup_checks(),
            **common.card(common.MODEL),
            "cases": component("tools.data.find_detection_scans", "dataset_dir", "annotations"),
            **self._networks(),
            "network": "$@network_def.to(@device)",
            "box_selector": component("tools.detection.Detector", strides="$@network_def.strides", **SELECTION),
            "inferer": component("tools.detection.ScanInferer", *STACK, "batch_size", detector="@box_selector"),
            "detector": component(
                "tools.detection.ScanDetector",
                *("inferer", "models_dir", "score_thresh"),
                network="@network_def",
            ),
            "detector_ops": [],
            "preprocessing": component(
                "tools.detection.build_scan_preprocessing", "num_slices", "slice_spacing", "max_voxels"
            ),
            "handlers": [component("tools.detection.DetectionWriter", "output_dir", "score_thresh", model=loader)],
            **common.inference_engine(prepare_batch=component("tools.detection.PrepareScanBatch"), decollate=False),
        }


def validation() -> Config:
    """Return the entries under ``validate``."""
    views = component(
        "tools.detection.StackAugmentation",
        sizes=["@image_size"],
        size_divisible="$@network_def.strides[-1]",
        flip_prob=0.0,
    )
    froc = component("tools.detection.FROC", "match_metric", "match_thresh", "exclude_noisy")
    return {
        "task": views,
        "inferer": component("SimpleInferer"),
        "dataset": common.cached_dataset("validation", "validation", preprocessing="@preprocessing"),
        "dataloader": common.case_loader(batch_size="@batch_size"),
        "postprocessing": component("tools.detection.DetectBoxesd", "detector", keys="pred"),
        "key_metric": {"mean_sensitivity": froc},
        "additional_metrics": {"loss": common.validation_loss(skip_unrolling=True)},
        "handlers": [],
        "evaluator": common.validator(prepare_batch="@validate#task", postprocessing="@validate#postprocessing"),
    }
