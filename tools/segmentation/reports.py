"""Handlers that write segmentation results: test scores with confidence intervals, and label files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd

from tools.data.formats.nifti import write_labels
from tools.segmentation.figures import CaseSlice, best_and_worst, draw_cases, representative_slice
from tools.segmentation.label_transforms import MapLabelsd
from tools.segmentation.labels import LabelManager
from tools.segmentation.metrics import POLICY, dice_scores, hausdorff_95
from tools.training.case_outputs import CaseOutputs
from tools.training.model_loader import ModelLoader
from tools.transfer.card import format_labels
from tools.transforms.volume import LoadVolumed
from tools.utils import figures
from tools.utils.bootstrap import bootstrap_interval, describe_interval
from tools.utils.files import write_json, write_table
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def source_file(image: MetaTensor) -> str:
    """Return the path of an image's file, the first one for channels in separate files."""
    return str(image.meta["filename_or_obj"])


class SegmentationReport:
    """Handler that evaluates test cases on their original grids.

    Writes ``evaluation.csv`` with the scores per case, ``evaluation.json`` with confidence intervals, and
    ``evaluation.png`` with the best and the worst cases.

    Args:
        model: handler that loads the network.
        label_manager: maps labels to channels of the network.
        label_values: stored value of label 1, of label 2, and so on.
        output_dir: output folder.
        background_values: stored values that are mapped to the background, in addition to 0.
    """

    def __init__(
        self,
        model: ModelLoader,
        label_manager: LabelManager,
        label_values: Sequence[int],
        output_dir: str,
        background_values: Sequence[int] = (),
    ) -> None:
        self.model = model
        self.label_manager = label_manager
        self.table, self.summary, self.figure = (
            output_path(output_dir, f"evaluation.{suffix}") for suffix in ("csv", "json", "png")
        )
        prepare = MapLabelsd("label", label_values, background=background_values)
        self.read = Compose([LoadVolumed(["image", "label"]), prepare])
        self.reorient = Orientationd(["image", "label", "pred"], axcodes="RAS", labels=None)
        self.rows: list[Row] = []
        self.slices: list[CaseSlice] = []

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator, whose output is label maps on the original grids."""
        self.model.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def _score(self, engine: Engine) -> None:
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            case = self.read({"image": source_file(batch["image"]), "label": batch["label"]})
            y, y_pred = (self.label_manager.masks(labels.cpu()[None]) for labels in (case["label"], output["pred"]))
            dice = dice_scores(y_pred, y)[0].tolist()
            distances = hausdorff_95(y_pred, y, case["label"].pixdim.tolist())[0].tolist()
            row: Row = {"case": batch["case"], "patient": batch["patient"], "mean_dice": float(np.mean(dice))}
            row |= {f"dice_{name}": value for name, value in zip(self.label_manager.classes, dice, strict=True)}
            row |= {f"hd95_{name}": value for name, value in zip(self.label_manager.classes, distances, strict=True)}
            self.rows.append(row)
            reoriented = self.reorient({**case, "pred": output["pred"].cpu()})
            masks = (self.label_manager.masks(reoriented[key][None])[0] for key in ("pred", "label"))
            self.slices.append(representative_slice(batch["case"], reoriented["image"], *masks))

    def report(self, engine: Engine) -> None:
        """Write and print the scores with bootstrap intervals over cases."""
        write_table(self.table, self.rows)
        summary: Row = {}
        for name in list(self.rows[0])[2:]:
            mean, low, high = bootstrap_interval([row[name] for row in self.rows])
            summary[name] = {"mean": mean, "interval_95": [low, high]}
        result = {"cases": len(self.rows), "scores": summary, "empty": POLICY}
        write_json(self.summary, result)
        chosen = best_and_worst(self.slices, 2)
        figures.save(draw_cases(chosen, list(self.label_manager.classes)), self.figure)
        lines = [f"{len(self.rows)} test cases, mean and 95 % interval over cases:"]
        for name, value in summary.items():
            unit = " mm" if name.startswith("hd95") else ""
            digits = 1 if unit else 3
            interval = describe_interval(value["interval_95"], len(self.rows), f".{digits}f")
            lines.append(f"  {name:20} {value['mean']:.{digits}f} ({interval}){unit}")
        logger.info("\n".join([*lines, f"per case: {self.table}"]))


class SegmentationWriter:
    """Handler that writes labels on the original grid, ``<case>.nii.gz``, and a figure, ``<case>.png``, per scan.

    Args:
        model: handler that loads the network.
        label_manager: maps labels to channels of the network.
        label_values: stored value of label 1, of label 2, and so on; 1, 2, 3 … by default.
        output_dir: output folder.
    """

    def __init__(
        self, model: ModelLoader, label_manager: LabelManager, label_values: Sequence[int] | None, output_dir: str
    ) -> None:
        self.model = model
        self.label_manager = label_manager
        self.outputs = CaseOutputs(output_dir, (".nii.gz", ".png"))
        values = label_values or range(1, 1 + len(label_manager.labels))
        self.values = dict(zip(label_manager.labels, values, strict=True))
        self.map_labels = MapLabelsd("pred", values, image_key=None)
        self.reorient = Orientationd(["image", "pred"], axcodes="RAS", labels=None)

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator, whose output is label maps on the original grids."""
        self.outputs.attach(engine)
        self.model.attach(engine)
        engine.add_event_handler(Events.STARTED, self._report_labels)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def _report_labels(self, engine: Engine) -> None:
        source = (
            "from model.json"
            if self.model.card.get("labels")
            else "default, since no model.json with labels is beside the weights"
        )
        logger.info(f"labels written: {format_labels(self.values)} ({source})")

    def write(self, engine: Engine) -> None:
        """Write the files of the current batch."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            labels = output["pred"].cpu()
            path, source = self.outputs.path(batch["case"], ".nii.gz"), source_file(batch["image"])
            write_labels(path, labels[0].numpy(), np.asarray(labels.affine, dtype=float), source)
            scan = LoadVolumed()({"image": source})
            reoriented = self.reorient(self.map_labels({**scan, "pred": labels}))
            masks = self.label_manager.masks(reoriented["pred"][None])[0]
            shown = representative_slice(batch["case"], reoriented["image"], masks, None)
            figures.save(
                draw_cases([shown], list(self.label_manager.classes)), self.outputs.path(batch["case"], ".png")
            )
            volume = float(torch.det(torch.as_tensor(labels.affine)[:3, :3]).abs()) / 1000
            sizes = masks.flatten(1).sum(1).tolist()
            volumes = ", ".join(
                f"{n} {s * volume:.1f} ml" for n, s in zip(self.label_manager.classes, sizes, strict=True)
            )
            logger.info(f"{batch['case']}: {volumes}; {path}")
