"""What a trained segmentation network leaves: scores of test cases, label files of any scan."""

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
from tools.segmentation.figures import Look, chosen_looks, draw_looks, look_at
from tools.segmentation.label_transforms import PrepareLabelsd
from tools.segmentation.labels import LabelManager
from tools.segmentation.metrics import POLICY, dice_scores, hausdorff_95
from tools.training.case_outputs import CaseOutputs
from tools.training.model_loader import ModelLoader
from tools.transfer.card import spell_labels
from tools.transforms.volume import LoadVolumed
from tools.utils import figures
from tools.utils.bootstrap import bootstrap_interval, describe_interval
from tools.utils.files import write_json, write_table
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def file_of(image: MetaTensor) -> str:
    """The file an image was read from; of several channels in files of their own, the first."""
    return str(image.meta["filename_or_obj"])


class SegmentationReport:
    """Score test cases on their own grids: ``evaluation.csv`` per case, ``evaluation.json`` with intervals, a picture.

    Args:
        model: loads the network.
        coding: what labels mean.
        label_values: stored value of label 1, of label 2, and so on.
        output_dir: where the files go.
        background_values: stored values besides 0 that count as background.
    """

    def __init__(
        self,
        model: ModelLoader,
        coding: LabelManager,
        label_values: Sequence[int],
        output_dir: str,
        background_values: Sequence[int] = (),
    ) -> None:
        self.model = model
        self.coding = coding
        self.table, self.summary, self.figure = (
            output_path(output_dir, f"evaluation.{suffix}") for suffix in ("csv", "json", "png")
        )
        prepare = PrepareLabelsd("label", label_values, background=background_values)
        self.read = Compose([LoadVolumed(["image", "label"]), prepare])
        self.turn = Orientationd(["image", "label", "pred"], axcodes="RAS", labels=None)
        self.rows: list[Row] = []
        self.looks: list[Look] = []

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator, whose output is label maps on the grids of the files."""
        self.model.attach(engine)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.COMPLETED, self.report)

    def _score(self, engine: Engine) -> None:
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            case = self.read({"image": file_of(batch["image"]), "label": batch["label"]})
            truth, answer = (self.coding.masks(labels.cpu()[None]) for labels in (case["label"], output["pred"]))
            dice = dice_scores(answer, truth)[0].tolist()
            distances = hausdorff_95(answer, truth, case["label"].pixdim.tolist())[0].tolist()
            row: Row = {"case": batch["case"], "patient": batch["patient"], "mean_dice": float(np.mean(dice))}
            row |= {f"dice_{name}": value for name, value in zip(self.coding.structures, dice, strict=True)}
            row |= {f"hd95_{name}": value for name, value in zip(self.coding.structures, distances, strict=True)}
            self.rows.append(row)
            turned = self.turn({**case, "pred": output["pred"].cpu()})
            masks = (self.coding.masks(turned[key][None])[0] for key in ("pred", "label"))
            self.looks.append(look_at(batch["case"], turned["image"], *masks))

    def report(self, engine: Engine) -> None:
        """Write and print the figures; intervals are over cases."""
        write_table(self.table, self.rows)
        summary: Row = {}
        for name in list(self.rows[0])[2:]:
            mean, low, high = bootstrap_interval([row[name] for row in self.rows])
            summary[name] = {"mean": mean, "interval_95": [low, high]}
        result = {"cases": len(self.rows), "scores": summary, "empty": POLICY}
        write_json(self.summary, result)
        chosen = chosen_looks(self.looks, 2)
        figures.save(draw_looks(chosen, list(self.coding.structures)), self.figure)
        lines = [f"{len(self.rows)} test cases, mean and 95 % interval over cases:"]
        for name, value in summary.items():
            unit = " mm" if name.startswith("hd95") else ""
            digits = 1 if unit else 3
            interval = describe_interval(value["interval_95"], len(self.rows), f".{digits}f")
            lines.append(f"  {name:20} {value['mean']:.{digits}f} ({interval}){unit}")
        logger.info("\n".join([*lines, f"per case: {self.table}"]))


class SegmentationWriter:
    """Write ``<case>.nii.gz``, labels on the grid of the scan, and ``<case>.png`` after every scan.

    Args:
        model: loads the network.
        coding: what labels mean.
        label_values: stored value of label 1, of label 2, and so on.
        output_dir: where the files go.
    """

    def __init__(
        self, model: ModelLoader, coding: LabelManager, label_values: Sequence[int] | None, output_dir: str
    ) -> None:
        self.model = model
        self.coding = coding
        self.outputs = CaseOutputs(output_dir, (".nii.gz", ".png"))
        values = label_values or range(1, 1 + len(coding.labels))
        self.written = dict(zip(coding.labels, values, strict=True))
        self.rename = PrepareLabelsd("pred", values, image_key=None)
        self.turn = Orientationd(["image", "pred"], axcodes="RAS", labels=None)

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator, whose output is label maps on the grids of the files."""
        self.outputs.attach(engine)
        self.model.attach(engine)
        engine.add_event_handler(Events.STARTED, self._report_labels)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)

    def _report_labels(self, engine: Engine) -> None:
        source = "as trained" if self.model.contract.get("labels") else "no model.json with labels beside the weights"
        logger.info(f"labels written: {spell_labels(self.written)} ({source})")

    def write(self, engine: Engine) -> None:
        """Write the files of the current batch."""
        for batch, output in zip(engine.state.batch, engine.state.output, strict=True):
            labels = output["pred"].cpu()
            path, source = self.outputs.path(batch["case"], ".nii.gz"), file_of(batch["image"])
            write_labels(path, labels[0].numpy(), np.asarray(labels.affine, dtype=float), source)
            scan = LoadVolumed()({"image": source})
            turned = self.turn(self.rename({**scan, "pred": labels}))
            masks = self.coding.masks(turned["pred"][None])[0]
            look = look_at(batch["case"], turned["image"], masks, None)
            figures.save(draw_looks([look], list(self.coding.structures)), self.outputs.path(batch["case"], ".png"))
            volume = float(torch.det(torch.as_tensor(labels.affine)[:3, :3]).abs()) / 1000
            sizes = masks.flatten(1).sum(1).tolist()
            found = ", ".join(f"{n} {s * volume:.1f} ml" for n, s in zip(self.coding.structures, sizes, strict=True))
            logger.info(f"{batch['case']}: {found}; {path}")
