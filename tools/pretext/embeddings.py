"""Writer of patch embeddings and their principal components, for inference of pretext bundles."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from matplotlib.figure import Figure
from torch import nn

from tools.pretext.patch_embedder import PatchEmbedder
from tools.training.case_outputs import CaseOutputs
from tools.transfer.load import load_encoder
from tools.utils import figures
from tools.utils.files import atomic_write, write_table
from tools.utils.outputs import output_path

logger = logging.getLogger(__name__)


class EmbeddingWriter:
    """Handler that loads the encoder at the start and writes the embeddings of every case.

    Without `per_scan`, ``<case>.png`` shows the principal components, and ``<case>.npz`` holds:

    - ``embeddings``: (*grid, channels).
    - ``corners_0``, ``corners_1``, ...: first voxel of the patches along each axis.
    - ``patch_size``: edge lengths of a patch, in voxels.
    - ``affine``: maps voxels of the resampled scan to mm (RAS), or pixels of the resized image to pixels of the file.

    With `per_scan`, ``<case>.npy`` holds the mean embedding (channels,), the input of linear probes of whole scans
    (FOMO26, task 6). ``embeddings.csv`` lists case, patient and file.

    Args:
        output_dir: output folder.
        encoder: encoder that the weights are loaded into.
        model: path of the weights, a ``model.pt``.
        inferer: inferer that defines the patch grid.
        expected: expected entries of the encoder card (channels, spacing, intensity, ...); a difference is logged as
            a warning.
        per_scan: whether to write one vector per scan.
    """

    def __init__(
        self,
        output_dir: str,
        encoder: nn.Module,
        model: str,
        inferer: PatchEmbedder,
        expected: dict[str, Any],
        per_scan: bool = False,
    ) -> None:
        self.outputs = CaseOutputs(output_dir, (".npy",) if per_scan else (".npz", ".png"))
        self.table = output_path(output_dir, "embeddings.csv") if per_scan else None
        self.encoder = encoder
        self.model = model
        self.inferer = inferer
        self.expected = expected

    def attach(self, engine: Engine) -> None:
        """Attach to the evaluator."""
        self.outputs.attach(engine)
        engine.add_event_handler(Events.STARTED, self._load)
        if self.table is None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_maps)
        else:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._write_vectors)
            engine.add_event_handler(Events.COMPLETED, self._write_table)

    def _load(self, engine: Engine) -> None:
        self.rows: list[dict[str, str]] = []
        logger.info(str(load_encoder(self.encoder, self.model, expected=self.expected)))

    def _write_maps(self, engine: Engine) -> None:
        batch, maps = engine.state.batch, engine.state.output["pred"].detach().float().cpu()
        for case, image, embedding in zip(batch["case"], batch["image"], maps, strict=True):
            starts = self.inferer.starts(image.shape[1:])
            path = self.outputs.path(case, ".npz")
            with atomic_write(path) as temporary:
                np.savez_compressed(
                    temporary,
                    embeddings=embedding.movedim(0, -1).numpy(),
                    patch_size=np.array(self.inferer.patch_size),
                    affine=np.asarray(image.affine),
                    **{f"corners_{axis}": start.numpy() for axis, start in enumerate(starts)},
                )
            voxels = torch.Tensor.as_subclass(image, torch.Tensor).cpu().float()
            figures.save(draw_components(voxels, embedding, case), self.outputs.path(case, ".png"))
            logger.info(f"{case}: {' x '.join(map(str, embedding.shape[1:]))} embeddings in {path}")

    def _write_vectors(self, engine: Engine) -> None:
        batch, vectors = engine.state.batch, engine.state.output["pred"].detach().float().flatten(2).mean(-1).cpu()
        for case, patient, vector in zip(batch["case"], batch["patient"], vectors, strict=True):
            path = self.outputs.path(case, ".npy")
            with atomic_write(path) as temporary:
                np.save(temporary, vector.numpy())
            self.rows.append({"case": case, "patient": patient, "file": path.relative_to(self.table.parent).as_posix()})

    def _write_table(self, engine: Engine) -> None:
        write_table(self.table, self.rows)
        logger.info(f"{len(self.rows)} scans, one vector of {self.encoder.channels[-1]} values each: {self.table}")


def principal_components(embedding: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """Project an embedding map onto its first three principal components.

    Args:
        embedding: (C, *grid).

    Returns:
        Components (3, *grid), scaled from their 1st to 99th percentile to [0, 1], and the fraction of variance
        explained by each. The sign is fixed: the loading with the largest magnitude is positive.
    """
    flat = embedding.flatten(1).T.double()
    flat = flat - flat.mean(0)
    _, singular_values, loadings = torch.linalg.svd(flat, full_matrices=False)
    loadings = F.pad(loadings, (0, 0, 0, max(0, 3 - len(loadings))))[:3]
    largest = loadings.gather(1, loadings.abs().argmax(1, keepdim=True))
    values = flat @ (loadings * torch.where(largest < 0, -1.0, 1.0)).T
    low, high = torch.quantile(values, torch.tensor([0.01, 0.99], dtype=values.dtype), dim=0)
    scaled = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    fractions = (singular_values.square() / singular_values.square().sum().clamp(min=1e-12))[:3].tolist()
    return scaled.T.reshape(3, *embedding.shape[1:]).float(), fractions


def draw_components(image: torch.Tensor, embedding: torch.Tensor, title: str) -> Figure:
    """Plot the first three principal components as RGB over a 2D image or the middle slices of a volume.

    Args:
        image: (C, *spatial).
        embedding: (channels, *grid).
        title: title of the figure.
    """
    colors, fractions = principal_components(embedding)
    mode = "trilinear" if image.ndim == 4 else "bilinear"
    colors = F.interpolate(colors[None], image.shape[1:], mode=mode, align_corners=False)[0]
    panels = [(image, colors, figures.orientation_of((0, 1)))]
    if image.ndim == 4:
        panels = [
            (
                *(volume.select(1 + axis, volume.shape[1 + axis] // 2) for volume in (image, colors)),
                figures.Orientation.across(axis),
            )
            for axis in range(3)
        ]
    limits = figures.intensity_limits(image[0].numpy())
    figure = Figure(figsize=(3.2 * len(panels), 6.4))
    axes = figure.subplots(2, len(panels), squeeze=False).T
    for column, (scan, color, orientation) in zip(axes, panels, strict=True):
        grey = ((scan.mean(0) - limits[0]) / (limits[1] - limits[0])).clamp(0, 1)
        figures.show(column[0], figures.plane(scan, orientation=orientation), limits, orientation=orientation)
        colored = figures.plane(color * (0.25 + 0.75 * grey), orientation=orientation)
        figures.show(column[1], colored, (0.0, 1.0), orientation=orientation)
    explained = ", ".join(f"{fraction:.0%}" for fraction in fractions)
    figure.suptitle(
        f"{title}\nfirst three principal components of the embeddings ({explained} of the variance)", fontsize=9
    )
    figure.tight_layout()
    return figure
