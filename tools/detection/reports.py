"""Handlers that write detection results: test scores with confidence intervals, and lesions in scans."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from tools.classification.binary_reports import selected_threshold
from tools.detection.figures import DetectionCollector, SliceDetections, draw_froc, draw_slices
from tools.detection.froc import RATES, box_overlap, sensitivity_at
from tools.detection.linking import link_slices
from tools.detection.metrics import LESION_TYPES, detection_report, rank_detections, size_class, subgroup_sensitivity
from tools.detection.scan import Detections, filter_by_score, lesion_boxes, scan_affine
from tools.training.case_outputs import CaseOutputs
from tools.training.model_loader import ModelLoader
from tools.training.reports import Report, describe_scores
from tools.utils import figures
from tools.utils.files import write_json, write_table

logger = logging.getLogger(__name__)

GROUP_RATE = 4  # false positives per image at which types and sizes are compared
MAX_SLICES = 6  # slices per figure of a scan


class DetectionReport(Report, DetectionCollector):
    """Handler that evaluates test images.

    Writes ``evaluation.csv`` with every detection, ``evaluation.json`` with scores and confidence intervals, the FROC
    curve ``evaluation.png`` and ``lesions.png``. ``evaluation_cases.csv`` has the data of the FROC curve per image: the
    number of lesions, the best score on each detected lesion, and the scores of the false positives, separated by
    spaces.

    Args:
        model: handler that loads the network.
        output_dir: output folder.
        match_metric: overlap measure, see `DetectionCollector`.
        match_thresh: minimum overlap of a match.
        exclude_noisy: whether to exclude lesions with noisy annotations.
    """

    FILES = (*Report.FILES, "evaluation_cases.csv", "lesions.png")

    def __init__(
        self,
        model: ModelLoader,
        output_dir: str,
        match_metric: str = "iou",
        match_thresh: float = 0.5,
        exclude_noisy: bool = False,
    ) -> None:
        Report.__init__(self, model, output_dir)
        DetectionCollector.__init__(self, match_metric, match_thresh, exclude_noisy)

    def _finish(self, engine: Engine) -> None:
        """Write and print the scores with bootstrap intervals over patients."""
        write_table(self.files["evaluation.csv"], list(self._rows()))
        write_table(self.files["evaluation_cases.csv"], list(self._case_rows()))
        patients = [item["patient"] for item in self.items]
        gt_ignore = [item["noisy"] for item in self.items] if self.exclude_noisy else None
        detections, gt_boxes = ([item[key] for item in self.items] for key in ("detections", "gt_boxes"))
        ranking = rank_detections(detections, gt_boxes, gt_ignore=gt_ignore)
        result: dict[str, Any] = {
            "images": len(self.items),
            "patients": len(set(patients)),
            "lesions": sum(int(one.evaluated.sum()) for one in self.matches),
            "match": f"{self.match_metric} of at least {self.match_thresh}",
            "scores": detection_report(self.matches, ranking, patients),
        }
        reference = zip(RATES, sensitivity_at(self.matches, RATES, "reference").tolist(), strict=True)
        result["reference"] = {f"sensitivity_at_{rate:g}": value for rate, value in reference}
        result |= {f"by_{name}": self._groups(name) for name in ("type", "size")}
        write_json(self.files["evaluation.json"], result)
        mean = result["scores"]["mean_sensitivity"]["value"]
        figures.save(draw_froc(self.matches, f"mean sensitivity {mean:.2f}"), self.files["evaluation.png"])
        figures.save(self.draw(), self.files["lesions.png"])
        logger.info("\n".join(self._describe(result)))

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row per detection: box, score, overlap and type of match."""
        for item, matches in zip(self.items, self.matches, strict=True):
            detections = item["detections"]
            overlap = box_overlap(detections["boxes"], item["gt_boxes"], self.match_metric)
            best = overlap.amax(1) if overlap.shape[1] else torch.zeros(len(overlap))
            scored = zip(detections["boxes"].tolist(), detections["scores"].tolist(), strict=True)
            for index, (box, score) in enumerate(scored):
                row = {"case": item["case"]}
                row |= {name: round(edge, 2) for name, edge in zip(("x1", "y1", "x2", "y2"), box, strict=True)}
                true = "finds" if index in matches.matched else "repeats"
                kind = "false" if matches.false_positive[index] else true
                yield row | {"score": round(score, 4), "overlap": round(float(best[index]), 3), "is": kind}

    def _case_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row per image with the data of the FROC curve."""
        for item, matches in zip(self.items, self.matches, strict=True):
            detected = matches.lesion_scores[np.isfinite(matches.lesion_scores)]
            scores = {"found_scores": detected, "false_scores": matches.fp_scores}
            yield {"case": item["case"], "patient": item["patient"], "lesions": int(matches.evaluated.sum())} | {
                name: " ".join(map(str, values.tolist())) for name, values in scores.items()
            }

    def _groups(self, name: str) -> dict[str, dict[str, float]]:
        """Return detected lesions, all lesions and their ratio by lesion type or size."""
        names = [
            [LESION_TYPES[int(one)] for one in item["types"]]
            if name == "type"
            else [size_class(box, item["spacing"]) for box in item["gt_boxes"]]
            for item in self.items
        ]
        counts = subgroup_sensitivity(self.matches, names, GROUP_RATE)
        return {group: {"found": n, "lesions": total, "sensitivity": n / total} for group, (n, total) in counts.items()}

    def _describe(self, result: dict[str, Any]) -> list[str]:
        head = f"{result['lesions']} lesions in {result['images']} test images of {result['patients']} patients"
        lines = [f"{head}, {result['match']}, 95 % interval over patients:", *describe_scores(result["scores"])]
        values = ", ".join(f"{value:.3f}" for value in result["reference"].values())
        lines.append(f"  sensitivities interpolated as in the published evaluation code: {values}")
        for name in ("type", "size"):
            groups = [f"{key} {one['found']} of {one['lesions']}" for key, one in result[f"by_{name}"].items()]
            lines.append(f"  detected by {name} at {GROUP_RATE} false positives per image: {', '.join(groups)}")
        return [*lines, f"per detection: {self.files['evaluation.csv']}"]


class DetectionWriter(Report):
    """Handler that writes the lesions of all scans, ``detections.json``, and a figure per scan, ``<case>.png``.

    Args:
        model: handler that loads the network; its card has the threshold.
        output_dir: output folder.
        score_thresh: score threshold; None for the threshold with one false positive per image in validation.
    """

    FILES = ("detections.json",)

    def __init__(self, model: ModelLoader, output_dir: str, score_thresh: float | None = None) -> None:
        super().__init__(model, output_dir)
        self.outputs = CaseOutputs(output_dir, (".png",))
        self.score_thresh = score_thresh

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator, whose output are the detections of a `ScanInferer` in one scan."""
        self.outputs.attach(engine)
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._set_threshold)

    def _set_threshold(self, engine: Engine) -> None:
        self.threshold = selected_threshold(self.model) if self.score_thresh is None else self.score_thresh

    def _clear(self, engine: Engine) -> None:
        self.scans: list[dict[str, Any]] = []

    def _collect(self, engine: Engine) -> None:
        batch, detections = engine.state.batch, engine.state.output["pred"]
        case, scan, keys, first = batch["case"][0], batch["image"], batch["keys"][0], int(batch["first"][0])
        detections = filter_by_score(detections, self.threshold)
        lesions = link_slices(**detections)
        boxes = [
            {
                "slice": first + int(key),
                "box": [round(edge, 2) for edge in box.tolist()],
                "score": round(float(score), 4),
            }
            for box, score, key in zip(*(detections[name] for name in ("boxes", "scores", "slices")), strict=True)
        ]
        world = {name: values.tolist() for name, values in lesion_boxes(lesions, scan_affine(scan)).items()}
        self.scans.append({"case": case, "image": scan.meta["filename_or_obj"][0], "boxes": boxes, **world})
        path = self.outputs.path(case, ".png")
        shown = [lesion.key for lesion in lesions] or [int(keys[len(keys) // 2])]
        slices = _slices(case, scan[0, 0], detections, shown, first)
        figures.save(draw_slices(slices, columns=3), path)
        logger.info(f"{case}: {len(lesions)} lesions in {len(keys)} slices; {path}")

    def _finish(self, engine: Engine) -> None:
        path = self.files["detections.json"]
        write_json(path, {"min_score": self.threshold, "scans": self.scans})
        count = sum(len(scan["label"]) for scan in self.scans)
        logger.info(f"{count} lesions in {len(self.scans)} scans, scores above {self.threshold:.3f}: {path}")


def _slices(
    case: str, volume: torch.Tensor, detections: Detections, keys: Sequence[int], first: int
) -> list[SliceDetections]:
    """Return the first of the given slices of a volume (X, Y, Z) with their detections."""
    slices = []
    for key in list(dict.fromkeys(keys))[:MAX_SLICES]:
        boxes, scores = (detections[name][detections["slices"] == key] for name in ("boxes", "scores"))
        image = volume[..., key].T.clamp(-1024, 1050).cpu().numpy()
        slices.append(SliceDetections(f"{case}, slice {first + key}", image, None, boxes, scores))
    return slices
