"""What a trained detection network leaves: scores of test pictures, lesions in any scan."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from tools.classification.binary_reports import threshold_of
from tools.detection.figures import FigureCollector, Look, draw_froc, draw_looks
from tools.detection.froc import RATES, overlaps, sensitivity_at
from tools.detection.linking import link_slices
from tools.detection.metrics import LESION_TYPES, detection_report, rank_detections, size_class, subgroup_sensitivity
from tools.detection.scan import Found, above, affine_of, lesion_boxes
from tools.training.case_outputs import CaseOutputs
from tools.training.model_loader import ModelLoader
from tools.training.reports import Report, describe_scores
from tools.utils import figures
from tools.utils.files import write_json, write_table

logger = logging.getLogger(__name__)

GROUP_RATE = 4  # false positives per picture at which types and sizes are compared
SLICES_SHOWN = 6  # of a scan


class DetectionReport(Report, FigureCollector):
    """Score test pictures: ``evaluation.csv`` per detection, ``evaluation.json`` with intervals, two pictures.

    ``evaluation_cases.csv`` has a row per picture from which its part of the FROC curve follows without loss: the
    number of lesions, the best score on each that was found, and the scores of false positives (spaces between).

    Args:
        model: loads the network.
        output_dir: where the files go.
        match: see `FigureCollector`, as are the next two.
        overlap: from which on a detection finds a lesion.
        exclude_noisy: lesions flagged as noisy are neither found nor missed.
    """

    FILES = (*Report.FILES, "evaluation_cases.csv", "lesions.png")

    def __init__(
        self,
        model: ModelLoader,
        output_dir: str,
        match: str = "iou",
        overlap: float = 0.5,
        exclude_noisy: bool = False,
    ) -> None:
        Report.__init__(self, model, output_dir)
        FigureCollector.__init__(self, match, overlap, exclude_noisy)

    def _finish(self, engine: Engine) -> None:
        """Write and print the figures; intervals are over patients."""
        write_table(self.files["evaluation.csv"], list(self._rows()))
        write_table(self.files["evaluation_cases.csv"], list(self._case_rows()))
        patients = [item["patient"] for item in self.items]
        noisy = [item["noisy"] for item in self.items] if self.exclude_noisy else None
        ranking = rank_detections(*([item[key] for item in self.items] for key in ("found", "truth")), noisy=noisy)
        result: dict[str, Any] = {
            "pictures": len(self.items),
            "patients": len(set(patients)),
            "lesions": sum(int(one.counted.sum()) for one in self.matches),
            "match": f"{self.match} of at least {self.overlap}",
            "scores": detection_report(self.matches, ranking, patients),
        }
        published = zip(RATES, sensitivity_at(self.matches, RATES, "reference").tolist(), strict=True)
        result["reference"] = {f"sensitivity_at_{rate:g}": value for rate, value in published}
        result |= {f"by_{name}": self._groups(name) for name in ("type", "size")}
        write_json(self.files["evaluation.json"], result)
        mean = result["scores"]["mean_sensitivity"]["value"]
        figures.save(draw_froc(self.matches, f"mean sensitivity {mean:.2f}"), self.files["evaluation.png"])
        figures.save(self.drawn(), self.files["lesions.png"])
        logger.info("\n".join(self._said(result)))

    def _rows(self) -> Iterator[dict[str, Any]]:
        """A row per detection: where, how sure, and what it is."""
        for item, matches in zip(self.items, self.matches, strict=True):
            found = item["found"]
            best = overlaps(found["boxes"], item["truth"], self.match)
            best = best.amax(1) if best.shape[1] else torch.zeros(len(best))
            for index, (box, score) in enumerate(zip(found["boxes"].tolist(), found["scores"].tolist(), strict=True)):
                right = "finds" if index in matches.finders else "repeats"
                place = {name: round(edge, 2) for name, edge in zip(("x1", "y1", "x2", "y2"), box, strict=True)}
                answer = {"score": round(score, 4), "overlap": round(float(best[index]), 3)}
                yield {"case": item["case"], **place, **answer, "is": "false" if matches.false[index] else right}

    def _case_rows(self) -> Iterator[dict[str, Any]]:
        """A row per picture: what `tools.detection.Pool` takes of it."""
        for item, matches in zip(self.items, self.matches, strict=True):
            found = matches.hit_scores[np.isfinite(matches.hit_scores)]
            scores = {"found_scores": found, "false_scores": matches.false_scores}
            yield {"case": item["case"], "patient": item["patient"], "lesions": int(matches.counted.sum())} | {
                name: " ".join(map(str, values.tolist())) for name, values in scores.items()
            }

    def _groups(self, name: str) -> dict[str, dict[str, float]]:
        """Lesions found, lesions and their ratio by type or size."""
        names = [
            [LESION_TYPES[int(one)] for one in item["types"]]
            if name == "type"
            else [size_class(box, item["spacing"]) for box in item["truth"]]
            for item in self.items
        ]
        counts = subgroup_sensitivity(self.matches, names, GROUP_RATE)
        return {group: {"found": n, "lesions": total, "sensitivity": n / total} for group, (n, total) in counts.items()}

    def _said(self, result: dict[str, Any]) -> list[str]:
        head = f"{result['lesions']} lesions in {result['pictures']} test pictures of {result['patients']} patients"
        lines = [f"{head}, {result['match']}, 95 % interval over patients:", *describe_scores(result["scores"])]
        values = ", ".join(f"{value:.3f}" for value in result["reference"].values())
        lines.append(f"  sensitivities interpolated as in published figures: {values}")
        for name in ("type", "size"):
            groups = [f"{key} {one['found']} of {one['lesions']}" for key, one in result[f"by_{name}"].items()]
            lines.append(f"  found by {name} at {GROUP_RATE} false positives per picture: {', '.join(groups)}")
        return [*lines, f"per detection: {self.files['evaluation.csv']}"]


class DetectionWriter(Report):
    """Write ``detections.json`` and, after every scan, ``<case>.png`` with its likeliest lesions.

    Args:
        model: loads the network; its contract has the threshold.
        output_dir: where the files go.
        min_score: score that a box must exceed; None for that of one false positive per picture in validation.
    """

    FILES = ("detections.json",)

    def __init__(self, model: ModelLoader, output_dir: str, min_score: float | None = None) -> None:
        super().__init__(model, output_dir)
        self.outputs = CaseOutputs(output_dir, (".png",))
        self.min_score = min_score

    def attach(self, engine: Engine) -> None:
        """Watch the evaluator, whose output is what a `ScanInferer` found in one scan."""
        self.outputs.attach(engine)
        super().attach(engine)
        engine.add_event_handler(Events.STARTED, self._choose_threshold)

    def _choose_threshold(self, engine: Engine) -> None:
        self.threshold = threshold_of(self.model) if self.min_score is None else self.min_score

    def _clear(self, engine: Engine) -> None:
        self.scans: list[dict[str, Any]] = []

    def _collect(self, engine: Engine) -> None:
        batch, found = engine.state.batch, engine.state.output["pred"]
        case, scan, keys, first = batch["case"][0], batch["image"], batch["keys"][0], int(batch["first"][0])
        found = above(found, self.threshold)
        linked = link_slices(**found)
        boxes = [
            {
                "slice": first + int(key),
                "box": [round(edge, 2) for edge in box.tolist()],
                "score": round(float(score), 4),
            }
            for box, score, key in zip(*(found[name] for name in ("boxes", "scores", "slices")), strict=True)
        ]
        lesions = lesion_boxes(linked, affine_of(scan))
        place = {"case": case, "image": scan.meta["filename_or_obj"][0], "boxes": boxes}
        self.scans.append({**place, **{name: values.tolist() for name, values in lesions.items()}})
        path = self.outputs.path(case, ".png")
        looks = _looks(case, scan[0, 0], found, [one.key for one in linked] or [int(keys[len(keys) // 2])], first)
        figures.save(draw_looks(looks, columns=3), path)
        logger.info(f"{case}: {len(linked)} lesions in {len(keys)} slices; {path}")

    def _finish(self, engine: Engine) -> None:
        path = self.files["detections.json"]
        write_json(path, {"min_score": self.threshold, "scans": self.scans})
        count = sum(len(scan["label"]) for scan in self.scans)
        logger.info(f"{count} lesions in {len(self.scans)} scans, scores above {self.threshold:.3f}: {path}")


def _looks(case: str, volume: torch.Tensor, found: Found, keys: Sequence[int], first: int) -> list[Look]:
    """The first of some slices (rows to the back) of a volume (X, Y, Z), with what was found there."""
    looks = []
    for key in list(dict.fromkeys(keys))[:SLICES_SHOWN]:
        here = found["slices"] == key
        picture = volume[..., key].T.clamp(-1024, 1050).cpu().numpy()
        looks.append(Look(f"{case}, slice {first + key}", picture, None, found["boxes"][here], found["scores"][here]))
    return looks
