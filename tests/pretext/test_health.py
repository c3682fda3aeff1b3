import logging
import re

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from tools.networks.encoders import build_encoder
from tools.pretext.collapse import CollapseMonitor
from tools.pretext.exemplar import Exemplar
from tools.pretext.probe.handler import LinearProbe, extract_features
from tools.pretext.saturation import SaturationMonitor
from tools.transforms.preprocessing import build_preprocessing
from tools.utils.errors import InputError

ROI = (16, 16, 16)


def volumes(folder, num_cases=6, edge=24, values=(0, 1, 2), break_case=None):
    """Noise with two blocks, bright and dark, in imagesTr next to labelsTr."""
    random = np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in range(num_cases):
        label = np.zeros((edge,) * 3, np.uint8)
        label[3:11, 4:12, 4:14], label[13:21, 10:20, 8:16] = values[1:]
        image = (random.random(label.shape) + np.array([1.0, 4.0, -3.0])[label % 3]).astype(np.float32)
        if case == 0 and break_case:
            image = break_case(image)
        for name, voxels in (("imagesTr", image), ("labelsTr", label)):
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), folder / name / f"{case}.nii.gz")
    return folder


def probe(folder, roi_size=ROI, **options):
    run = build_preprocessing(roi_size, 1, 2.0, slice_axis=options.get("slice_axis"))
    return LinearProbe(str(folder), run, roi_size, roi_size, **options)


class Values(nn.Module):
    """An "encoder" whose one feature is the image, or nothing."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def features(self, x):
        return [self.scale * torch.cat([x, x.square()], 1)]


@pytest.mark.parametrize("options", [{}, {"roi_size": (16, 14), "slice_axis": 0}])
def test_the_probe_distinguishes_good_features_from_none(tmp_path, options):
    made = probe(volumes(tmp_path), **options)
    made.load_cases()
    assert made.chance == pytest.approx(1 / 3)
    assert made.score(Values(1.0)) > 0.9
    assert made.score(Values(0.0)) == pytest.approx(1 / 3)


def test_it_repeats_itself_and_leaves_the_encoder_as_it_was(tmp_path):
    made, again = (probe(volumes(tmp_path / name), seed=4) for name in "ab")
    encoder = build_encoder("unet", norm="batch", features=(8, 8, 8, 8, 8), dropout=0.3)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    made.load_cases()
    again.load_cases()
    assert made.score(encoder) == made.score(encoder) == again.score(encoder)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state()[1]).all()
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert all(module.training for module in encoder.modules())
    assert all(parameter.grad is None for parameter in encoder.parameters())


def test_every_level_gives_its_features():
    encoder = build_encoder("unet", 2).eval()
    image = torch.randn(1, 32, 32)
    points = torch.tensor([[-0.5, 0.25], [0.9, -0.9]])
    with torch.no_grad():
        maps = encoder.features(image[None])
        at_points, pooled = (extract_features(encoder, {"image": image, **more}) for more in ({"points": points}, {}))
    assert at_points.shape == (2, sum(encoder.channels))
    torch.testing.assert_close(pooled[0, -256:], maps[-1].mean((0, 2, 3)))
    row, column = int((0.25 + 1) * 16 - 0.5), int((-0.5 + 1) * 16 - 0.5)  # grid_sample's last axis comes first
    near = maps[0][0, :, row : row + 2, column : column + 2].flatten(1)
    inside = (at_points[0, :16] >= near.amin(1) - 1e-5) & (at_points[0, :16] <= near.amax(1) + 1e-5)
    assert inside.all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ({"num_cases": 3}, "expected at least 4 cases of 2 patients"),
        ({"values": (0, 0, 0)}, "expected at least 2 labels in both halves of its cases, found 0 in"),
        ({"break_case": lambda v: np.stack([v, v], -1)}, "expected 1 channel(s), found 2"),
        ({"break_case": lambda v: np.where(v > 1.9, np.nan, v).astype(np.float32)}, "NaN"),
    ],
)
def test_bad_sets_are_refused(tmp_path, make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        probe(volumes(tmp_path, **make)).load_cases()


def test_bad_cases_are_excluded_with_skip_bad(tmp_path):
    made = probe(volumes(tmp_path, break_case=lambda v: np.stack([v, v], -1)), skip_bad=True)
    made.load_cases()
    assert {sample["case"] for half in made.halves for sample in half} == {f"imagesTr/{k}" for k in range(1, 6)}


class Table:
    def __init__(self):
        self.rows = []


def validations(accuracies, epochs, task, interval=1, known=()):
    """Run epochs with a table that is filled by a validation every `interval` epochs, after the rows `known`."""
    table, left = Table(), list(accuracies)
    table.rows = [{"epoch": k + 1, "val_accuracy": accuracy} for k, accuracy in enumerate(known)]
    engine = Engine(lambda engine, batch: None)

    @engine.on(Events.STARTED)
    def resume(engine):
        engine.state.epoch = len(known)

    @engine.on(Events.EPOCH_COMPLETED)
    def fill(engine):
        row = {"epoch": engine.state.epoch}
        table.rows.append(row | ({} if engine.state.epoch % interval else {"val_accuracy": left.pop(0)}))

    SaturationMonitor(task, table).attach(engine)
    engine.run(range(5), max_epochs=epochs)


@pytest.fixture
def task():
    return Exemplar((16, 16, 16))


def logged(caplog, words):
    return [record.message for record in caplog.records if words in record.message]


@pytest.mark.parametrize(("interval", "step"), [(1, 25), (2, 40)])
def test_a_solved_task_is_warned_of_once(caplog, task, interval, step):
    validations([0.9, 0.97, *[1.0] * 18] if interval == 1 else [0.9, *[0.99] * 9], 20, task, interval)
    [line] = logged(caplog, "solved")
    assert f"at step {step}" in line
    assert task.difficulty_advice in line
    assert "--epochs" in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("accuracies", "known"),
    [
        ([0.97] * 20, ()),
        ([0.99, 0.99, 0.9] * 6 + [0.9] * 2, ()),
        ([0.9] * 14 + [1.0] * 6, ()),  # at the end of the run
        ([1.0] * 15, [1.0] * 5),  # warned of before the run was resumed
    ],
)
def test_other_runs_are_not_warned_of(caplog, task, accuracies, known):
    validations(accuracies, 20, task, known=known)
    assert not logged(caplog, "solved")


def test_a_resumed_run_uses_earlier_validations(caplog, task):
    validations([1.0] * 18, 20, task, known=[1.0, 1.0])
    assert "at step" in logged(caplog, "solved")[0]


def embeddings(spreads, **options):
    """Run a monitor on batches whose spread is as given, epoch by epoch."""
    module = nn.Identity()
    noise = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))

    def step(engine, batch):
        module(torch.ones(64, 8) + spreads[engine.state.epoch - 1] * noise)

    engine = Engine(step)
    CollapseMonitor(module, **options).attach(engine)
    engine.run(range(3), max_epochs=len(spreads))
    return engine.state.metrics


@pytest.mark.parametrize(
    ("spreads", "step"),
    [
        ([1.0, 0.01, 0.008, 0.006, 0.005, 0.004], 12),  # certain after three epochs
        ([1.0, 0.01, 0.008], 9),  # at the end
        ([0.005, 0.01, 0.02, 0.02, 0.01, 0.01, 1.0], 15),
    ],
)
def test_collapse_is_warned_of_once_and_early(caplog, spreads, step):
    embeddings(spreads)
    [line] = logged(caplog, "collapsed")
    assert f"at step {step}" in line
    assert "--learning_rate" in line
    assert "\n" not in line


@pytest.mark.parametrize("spreads", [[1.0] * 5, [0.005, 0.01, 0.02, 0.5, 1.0], [1.0, 0.01, 0.01, 1.0, 0.01, 1.0]])
def test_healthy_embeddings_are_not_warned_of(caplog, spreads):
    with caplog.at_level(logging.WARNING):
        embeddings(spreads)
    assert not logged(caplog, "collapsed")


def test_a_task_that_compares_no_embeddings_is_measured_but_not_warned_of(caplog):
    with caplog.at_level(logging.WARNING):
        measured = embeddings([0.005] * 5, warn=False)
    assert measured["embedding_spread"] < 0.05
    assert not logged(caplog, "collapsed")
