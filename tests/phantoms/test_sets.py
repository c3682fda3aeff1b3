"""Properties of all generated sets: bytes only depend on seed and case, and stored sets are reused."""

from pathlib import Path

import pytest
import torch

from tools import phantoms

#: small settings, and the names of files of the first case
SETS = {
    "brain": ({"num_cases": 3, "size": (24, 28, 24), "spacing": 8.0}, ["head_000.nii.gz"]),
    "brats": ({"num_cases": 3, "size": (24, 28, 22), "spacing": 7.0}, ["imagesTr/BRATS_001.nii.gz"]),
    "pancreas": ({"num_cases": 3, "size": (30, 24, 20), "spacing": 11.0}, ["labelsTr/pancreas_001.nii.gz"]),
    "fundus": ({"num_patients": 3, "size": 64}, ["10_left.jpeg", "10_right.jpeg"]),
    "nodule": ({"num_patients": 3, "size": 32}, ["nodule/lidc1_1.npz"]),
    "deeplesion": ({"num_patients": 6, "size": 64}, []),
    "photograph": ({"num_per_class": 3, "size": 32}, ["train/ball/0000.jpeg", "val/ring/0002.jpeg"]),
}


def make(name, folder, **changes):
    return Path(getattr(phantoms, f"{name}_phantoms")(str(folder), **{**SETS[name][0], **changes}))


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", SETS)
def test_bytes_depend_on_seed_and_case_alone(name, tmp_path):
    threads = torch.get_num_threads()
    first = contents(make(name, tmp_path / "first"))
    torch.set_num_threads(3 - min(threads, 2))
    try:
        assert contents(make(name, tmp_path / "again")) == first
    finally:
        torch.set_num_threads(threads)
    assert torch.get_num_threads() == threads
    fewer, other = {key: 2 for key in SETS[name][0] if key.startswith("num")}, make(name, tmp_path / "seed", seed=1)
    fewer = make(name, tmp_path / "fewer", **fewer)
    for file in SETS[name][1]:
        if "val" not in file:
            assert (fewer / file).read_bytes() == first[Path(file)]
        assert (other / file).read_bytes() != first[Path(file)]
    data = [content for file, content in first.items() if file.suffix in (".gz", ".jpeg", ".npz", ".png")]
    assert len(set(data)) == len(data), "no case twice"


@pytest.mark.parametrize("name", ["brain", "fundus"])
def test_existing_set_is_reused_and_other_settings_replace_it(name, tmp_path):
    folder = make(name, tmp_path / "set")
    file = folder / SETS[name][1][0]
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert make(name, folder) == folder
    assert file.stat().st_mtime_ns == before[0]
    assert (make(name, folder, seed=1) / SETS[name][1][0]).read_bytes() != before[1]
