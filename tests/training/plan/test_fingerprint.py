"""Fingerprint of a data set."""

import random

import numpy as np
import pytest
import torch
from training.plan.scans import write_scan

from tools.training.plan import fingerprint as module
from tools.training.plan.fingerprint import read_fingerprint, sample_cases
from tools.transforms.preprocessing import build_preprocessing, build_reading
from tools.utils.errors import InputError
from tools.utils.resources import ResourceError

SPACING = (1.0, 1.5, 3.0)


def read(cases, seed=0):
    return read_fingerprint(cases, build_reading(1), seed)


def test_lengths_are_in_mm_whatever_the_unit(tmp_path):
    cases = [write_scan(tmp_path / f"{unit}.nii.gz", spacing=SPACING, unit=unit) for unit in ("mm", "meter")]
    found = read(cases)
    assert np.allclose(found.spacings, [SPACING] * 2)
    assert found.shapes.tolist() == [[40, 44, 36]] * 2


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.0, 1.5, 4.0), (3.0, 3.0, 1.0)])
def test_prepared_shapes_are_those_of_the_preprocessing(tmp_path, spacing):
    case = write_scan(tmp_path / "a.nii.gz", spacing=SPACING)
    prepared = build_preprocessing([4, 4, 4], 1, spacing=spacing)(case)["image"].shape[1:]
    assert np.abs(read([case]).prepared_shapes(spacing)[0] - np.array(prepared)).max() <= 2


def test_the_sample_depends_on_the_seed_and_not_on_the_order(monkeypatch):
    monkeypatch.setattr(module, "MAX_SAMPLED", 5)
    cases = [{"case": f"{number:03d}"} for number in range(50)]
    first = sample_cases(cases, seed=0)
    assert len(first) == 5
    assert first == sample_cases(random.Random(1).sample(cases, 50), seed=0)
    assert first != sample_cases(cases, seed=1)


def test_scans_that_cannot_be_read_are_counted_with_a_reason(tmp_path):
    cases = [write_scan(tmp_path / f"{number}.nii.gz") for number in range(3)]
    (tmp_path / "1.nii.gz").write_bytes(b"nothing")
    (tmp_path / "2.nii.gz").unlink()
    found = read(cases)
    assert list(found.volumes) == ["0.nii.gz"]
    assert list(found.unreadable) == ["1.nii.gz", "2.nii.gz"]
    assert str(tmp_path / "2.nii.gz") in found.unreadable["2.nii.gz"]
    with pytest.raises(InputError, match=r"plan: expected a scan that can be read, found none among 2; 1\.nii\.gz: "):
        read(cases[1:])


def test_exhausted_memory_is_not_the_fault_of_a_scan(tmp_path):
    def transform(case):
        raise MemoryError

    with pytest.raises(ResourceError, match="the main memory is full"):
        read_fingerprint([write_scan(tmp_path / f"{number}.nii.gz") for number in range(2)], transform)


def test_intensities_are_those_of_the_foreground_and_the_global_generator_is_unchanged(tmp_path):
    state = torch.get_rng_state()
    found = read([write_scan(tmp_path / f"{number}.nii.gz") for number in range(2)])
    assert torch.equal(torch.get_rng_state(), state)
    ((low, middle, high),) = found.intensities()
    assert 500 <= low < middle < high < 600
