import os

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LambdaD, NormalizeIntensityd, Orientationd, SpatialCropd

from tools.data.cache.dataset import CachedDataset
from tools.data.cache.fingerprint import fingerprint
from tools.data.cases import find_cases
from tools.transforms.geometry import PadToRoid
from tools.transforms.hashes import HashVoxelsd
from tools.transforms.volume import CheckVolumed, LoadVolumed
from tools.utils.errors import InputError


@pytest.fixture
def cases(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for number in range(4):
        image = nib.Nifti1Image(random.normal(size=(8, 9, 10)).astype(np.float32), np.diag([-1, -1, 1, 1]))
        nib.save(image, tmp_path / "data" / f"c{number}.nii.gz")
    return find_cases(tmp_path / "data")


def chain(size=6):
    return Compose(
        [
            LoadVolumed(),
            CheckVolumed(channels=1),
            Orientationd("image", "RAS", labels=None),
            HashVoxelsd(),
            SpatialCropd("image", roi_start=(0, 0, 0), roi_end=(size,) * 3),
            NormalizeIntensityd("image"),
            PadToRoid(roi_size=8),
        ]
    )


def spoil(case):
    with open(case["image"], "r+b") as file:
        file.truncate(os.path.getsize(case["image"]) // 2)


def test_memory_and_disk_agree(cases, tmp_path):
    memory = CachedDataset(cases, chain())
    disk = CachedDataset(cases, chain(), cache="disk", cache_dir=tmp_path / "cache")
    assert memory.data == cases
    assert memory.hashes == disk.hashes
    assert [one["case"] for one in memory.hashes] == ["c0", "c1", "c2", "c3"]
    assert len(memory) == len(disk) == 4
    for a, b in zip(memory, disk, strict=True):
        assert a["case"] == b["case"]
        assert torch.equal(a["image"], b["image"])
        assert type(a["image"]) is torch.Tensor
        assert a["image"].shape == (1, 8, 8, 8)
        assert a["image"].untyped_storage().nbytes() == 4 * 8**3
    memory[0]["image"] = None
    assert memory[0]["image"] is not None


def test_disk_cache_follows_files_and_settings(cases, tmp_path):
    def run(size=6):
        CachedDataset(cases, chain(size), cache="disk", cache_dir=tmp_path / "cache")
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.pt")}

    first = run()
    assert run() == first
    assert len(run(size=7)) == 8
    os.utime(cases[0]["image"], ns=(1, 1))
    second = run()
    assert len(second) == 9
    assert first.items() <= second.items()


def test_cache_file_cut_short_is_made_again(cases, tmp_path):
    CachedDataset(cases[:1], chain(), cache="disk", cache_dir=tmp_path)
    (path,) = tmp_path.glob("*.pt")
    path.write_bytes(path.read_bytes()[:100])
    assert CachedDataset(cases[:1], chain(), cache="disk", cache_dir=tmp_path)[0]["image"].shape == (1, 8, 8, 8)


def test_bad_cases_are_listed_or_excluded(cases, capsys):
    spoil(cases[1])
    spoil(cases[3])
    with pytest.raises(InputError, match="2 of 4 training cases") as error:
        CachedDataset(cases, chain())
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert cases[1]["image"] in lines[1]
    kept = CachedDataset(cases, chain(), skip_bad=True)
    assert [case["case"] for case in kept.data] == ["c0", "c2"]
    assert "2 of 4 training cases" in capsys.readouterr().out
    with pytest.raises(InputError, match="found none among 1"):
        CachedDataset(cases[1:2], chain(), skip_bad=True)


def test_other_exceptions_name_the_case(cases):
    def fail(sample):
        raise KeyError("oops")

    with pytest.raises(InputError, match="c0: KeyError: 'oops'"):
        CachedDataset(cases, Compose([fail]))


@pytest.mark.parametrize("options", [{"cache": "tape"}, {"cache": "disk"}])
def test_settings_refused(cases, options):
    with pytest.raises(InputError, match="expected"):
        CachedDataset(cases, chain(), **options)


def test_meta_tensor_views_do_not_keep_their_source():
    big = MetaTensor(torch.zeros(1, 50, 50, 50))
    sample = CachedDataset([{"case": "a"}], lambda case: {**case, "image": big[:, :2]})[0]
    assert type(sample["image"]) is torch.Tensor
    assert sample["image"].untyped_storage().nbytes() == 4 * 2 * 50 * 50


def test_fingerprint(cases):
    transform = chain()
    before = fingerprint(transform)
    transform(dict(cases[0]))
    assert fingerprint(transform) == before == fingerprint(chain())
    assert fingerprint(chain(7)) != before

    def scale(by):
        return LambdaD("image", lambda image: image * by)

    assert fingerprint(scale(2)) == fingerprint(scale(2)) != fingerprint(scale(3))
