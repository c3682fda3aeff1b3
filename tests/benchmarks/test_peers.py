"""Other ways to make a batch give the network and the loss what ours gives them."""

import json

import pytest
import torch

from tools.benchmarks import peers
from tools.benchmarks.peer_batches import WAYS
from tools.phantoms.brain import brain_phantoms
from tools.pretext.cpc.task import CPC
from tools.pretext.exemplar.task import Exemplar
from tools.pretext.jigsaw.task import Jigsaw
from tools.pretext.rotation.task import Rotation
from tools.pretext.rpl.task import RelativePatchLocation

TASKS = [
    CPC((16, 16, 16), 4, negatives_other_volumes=3),
    RelativePatchLocation((18, 18, 18), gap=1, jitter=1, views_per_volume=26),
    Jigsaw((18, 18, 18), gap=1, jitter=1, views_per_volume=3),
    Rotation((8, 8, 8), views_per_volume=10),
    Exemplar((8, 8, 8)),
    Rotation((8, 8), num_rotations=4, views_per_volume=4),
]


def images(task, count=3):
    size = [edge + 2 for edge in task.roi_size]
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1 if len(size) == 3 else 3, *size, generator=generator) for _ in range(count)]


def made(task, way):
    return next(WAYS[way](task).batches(images(task), 2))


def flat(inputs):
    return inputs if isinstance(inputs, tuple) else (inputs,)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{type(task).__name__}{len(task.roi_size)}")
def test_a_batch_has_the_shape_of_ours(task, way):
    crops = torch.stack(images(task, 2))[(..., *[slice(1, -1)] * len(task.roi_size))]
    ours, targets = task.make_batch({"image": crops, "case": ["a", "b"]}, 1)
    inputs, answers = made(task, way)
    assert [(part.shape, part.dtype) for part in flat(inputs)] == [(part.shape, part.dtype) for part in flat(ours)]
    assert (answers.shape, answers.dtype) == (targets.shape, targets.dtype)


@pytest.mark.parametrize("way", WAYS)
def test_rotations_are_those_of_the_task(way):
    task = Rotation((6, 6, 6), views_per_volume=10)  # all of them
    views, labels = made(task, way)
    crop = views[0, labels[0].tolist().index(0)]
    ours, _ = task.apply(crop[None], {"label": labels[:1]})
    assert {view.numpy().tobytes() for view in views[0]} == {view.numpy().tobytes() for view in ours[0]}


@pytest.mark.parametrize("way", WAYS)
def test_patches_are_standardised(way):
    (patches, _), _ = made(TASKS[2], way)
    deviation, mean = torch.std_mean(patches, (3, 4, 5))
    assert mean.abs().max() < 1e-5
    assert (deviation - 1).abs().max() < 0.01


def test_the_table_has_every_way(tmp_path, capsys):
    data = brain_phantoms(str(tmp_path / "set"), num_cases=4, size=(24, 24, 24), spacing=8.0)
    small = {"roi_size": [16, 16, 16], "spacing": 8.0, "batch_size": 2, "views_per_volume": 2, "dataset_dir": data}
    peers.main("rotation3d", rounds=1, output=str(tmp_path / "peers.json"), **small)
    rows = json.loads((tmp_path / "peers.json").read_text())
    assert [row["what"] for row in rows] == ["steps/s", "batches/s"]
    assert all(row[way] > 0 and row[f"of {way}"] > 0 for row in rows for way in WAYS)
    assert "of torch" in capsys.readouterr().out


def test_ratios_are_those_of_each_turn_without_the_first():
    times = {"ours": [9.0, 1.0, 2.0, 4.0], **{way: [0.1, 2.0, 4.0, 8.0] for way in WAYS}}
    found = peers.row("steps/s", "rotation3d", times)
    assert found["ours"] == pytest.approx(1 / 2)
    assert found["of numpy"] == pytest.approx(2)
