import json

import numpy as np
import pytest
import torch

from tools.benchmarks import generation, reference


def test_the_table_has_every_task(tmp_path, capsys):
    file = tmp_path / "figures.json"
    generation.main(edge=48, batch=3, edge2d=48, batch2d=3, repeats=1, output=str(file))
    rows = json.loads(file.read_text())
    assert {row["task"] for row in rows} == {f"{name}{d}d" for name in (*reference.STATEMENTS, "mae") for d in (2, 3)}
    assert all(row["images_per_second"] > 0 and row["of_a_copy"] > 0 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(rows)


@pytest.mark.parametrize(
    ("name", "shape"), [("cpc", (32, 12, 6, 6, 6)), ("rpl", (2, 5, 5, 5)), ("jigsaw", (27, 5, 5, 5))]
)
def test_statements_give_the_shapes_of_the_description(name, shape):
    volume = np.random.default_rng(0).random((24, 24, 24), dtype=np.float32)
    assert reference.STATEMENTS[name](volume, np.random.default_rng(1)).shape == shape


def test_a_stated_rotation_moves_voxels():
    volume = np.random.default_rng(0).random((6, 6, 6))
    for seed in range(8):
        turned = reference.rotation(volume, np.random.default_rng(seed))
        assert np.array_equal(np.sort(turned, axis=None), np.sort(volume, axis=None))


def test_a_stated_batch_is_one_array():
    """Of the exemplar with its triplets, in float64: spec 1.5."""
    pytest.importorskip("scipy")
    images = torch.rand(2, 1, 8, 8, 8)
    triplets = reference.batch(reference.exemplar, images, seed=0)
    assert triplets.shape == (2, 3, 8, 8, 8)
    assert triplets.dtype == np.float64
    turned = reference.batch(reference.rotation, images, seed=0)
    assert turned.shape == (2, 8, 8, 8)
    assert turned.flags.c_contiguous
