"""Plans of a bundle."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training.plan.scans import write_scan

from tools.training import plan_sizes
from tools.utils import distributed
from tools.utils.errors import InputError
from tools.utils.outputs import is_output

BUNDLES = Path(__file__).parents[3] / "bundles"
MAE = {"batch_size": 2, "encoder": "unet", "norm": "auto", "embedding_dim": 8, "mask_patch_size": 8, "mask_ratio": 0.6}
CPC = {
    "batch_size": 2,
    "encoder": "unet",
    "norm": "auto",
    **{"grid": 3, "jitter": 0, "cell_overlap": 0, "prediction_steps": 1, "context_rows": 1, "temperature": 0.1},
    **{"negatives_same_volume": 2, "negatives_other_volumes": 2, "embedding_dim": 8, "context_dim": 8},
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    return [write_scan(folder / f"{number}.nii.gz", (44 + 2 * number, 60, 20), (1, 1, 2.5)) for number in range(3)]


def make(cases, bundle="mae3d", settings=MAE, **changes):
    arguments = {"spacing": "auto", "roi_size": "auto", "gpu_memory_target": 1.0, "max_voxels": 2**20, **changes}
    return plan_sizes(str(BUNDLES / bundle), cases, 1, settings=settings, **arguments)


def test_fixed_values_are_returned_without_reading():
    cases = [{"case": "a", "image": "/nowhere/a.nii.gz"}]
    assert make(cases, spacing=2.0, roi_size=[32, 32, 32]) == {"spacing": 2.0, "roi_size": [32, 32, 32]}


def test_the_plan_is_the_same_for_any_order_and_leaves_random_numbers_unchanged(cases, tmp_path):
    state = torch.get_rng_state()
    found = make(cases, output_dir=str(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert found == make(cases[::-1])
    assert found["spacing"] == [1, 1, 2.5]
    assert all(edge % 8 == 0 for edge in found["roi_size"])
    content = json.loads((tmp_path / "plan.json").read_text())
    assert {key: content[key] for key in found} == found
    assert content["memory_gib"] < 1
    assert len(content["fingerprint"]["volumes"]) == 3
    assert is_output(tmp_path / "plan.json")


def test_a_corpus_of_one_scan_has_a_plan(cases):
    assert make(cases[:1])["spacing"] == [1, 1, 2.5]


def test_a_value_that_is_given_is_kept(cases):
    assert make(cases, roi_size=[24, 24, 16]) == {"spacing": [1, 1, 2.5], "roi_size": [24, 24, 16]}
    coarse = make(cases, spacing=2.0)
    assert coarse["spacing"] == 2.0
    assert coarse["roi_size"][0] < make(cases)["roi_size"][0]


def test_less_memory_gives_a_smaller_crop_and_the_smallest_has_a_warning(cases, capsys):
    sizes = [torch.tensor(make(cases, gpu_memory_target=target)["roi_size"]).prod() for target in (1.0, 0.07, 0.001)]
    assert sizes[0] > sizes[1] >= sizes[2]
    assert capsys.readouterr().out.count("warning: the smallest crop needs more memory than the target") == 1


def test_the_encoder_limits_the_crop(cases):
    """Each patch of a grid of 3 cells has at least 16 voxels, so the volumes are resampled more finely."""
    found = make(cases, "cpc3d", CPC)
    assert all(edge >= 48 for edge in found["roi_size"])
    assert max(np.atleast_1d(found["spacing"])) < 1


def test_rotations_have_an_isotropic_plan(cases):
    assert isinstance(make(cases, isotropic=True)["spacing"], float)


def test_the_report_ends_the_run(cases, tmp_path, capsys):
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    bad = {"case": "bad", "image": str(tmp_path / "bad.nii.gz")}
    with pytest.raises(SystemExit) as end:
        make([*cases, bad], plan=True, spacing=4.0, roi_size=[16, 16, 16])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "fingerprint of 3 of 4 scans" in out
    assert "1 of 4 sampled scans cannot be read:\n  bad: " in out
    assert '--spacing "[1,1,2.5]"' in out


def test_all_ranks_have_the_plan_of_the_first(cases, monkeypatch):
    planned = make(cases)
    sent = []
    gather = distributed.gather_objects
    monkeypatch.setattr(distributed, "gather_objects", lambda value: sent.append(value) or gather(value))
    make(cases)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "gather_objects", lambda value: [sent[0], value])
    assert make([]) == planned
    monkeypatch.setattr(distributed, "gather_objects", lambda value: [(None, "the reason"), value])
    with pytest.raises(InputError, match="the reason"):
        make([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slice_axis": 2}, "plan: expected slice_axis None"),
        ({"spacing": "automatic"}, "spacing: expected one of auto"),
        ({"settings": {**MAE, "mask_patch_size": 300}}, "roi_size: expected multiples of"),
        ({"settings": {**MAE, "encoder": "unett"}}, "encoder: expected one of"),
    ],
)
def test_bad_input_is_refused_in_one_line(cases, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        make(cases, **changes)
    assert "\n" not in str(caught.value)
