"""Every pretext bundle stays at chance where there is nothing to see, and the audit notices when one does not."""

import pytest
import torch
from conftest import BUNDLES, COMMON, TINY, config

from tools.audit import GATED, SOURCES, ContentFreed, audit
from tools.audit.run import Result

SETTINGS = {key: COMMON[key] for key in ("epochs", "steps_per_epoch", "warmup_epochs")} | {"batch_size": 4}


@pytest.mark.parametrize("source", GATED)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_no_content_no_answer(bundle, source):
    [result] = audit(
        config(bundle, "train"), [source], ["trivial features"], steps=30, draws=500, **{**TINY[bundle], **SETTINGS}
    )
    assert result.draws >= 500
    assert result.gated
    assert result.passed, str(result)


def test_zero_padding_would_be_noticed(monkeypatch):
    """The reference pads crops with zeros, which tells where in the volume a patch lies; here that fails the gate."""
    from tools.pretext import CPC

    whole = CPC._patches

    def padded(task, images, params):
        framed = torch.zeros_like(images)
        framed[..., 6:-6, 6:-6, 6:-6] = images[..., 6:-6, 6:-6, 6:-6] + 1
        return whole(task, framed, params)

    monkeypatch.setattr(CPC, "_patches", padded)
    settings = {**TINY["cpc3d"], **SETTINGS, "negatives_same_volume": 15, "negatives_other_volumes": 0}
    [result] = audit(
        config("cpc3d", "train"),
        ["white noise"],
        ["trivial features"],
        steps=60,
        draws=500,
        learning_rate=5e-3,
        **settings,
    )
    assert not result.passed, str(result)


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_seeded_and_at_least_the_crop(source):
    make = ContentFreed((24, 16, 20), 2.0)
    volumes = [make({"image": f"{source}/{number}"})["image"] for number in (3, 3, 4)]
    assert torch.equal(volumes[0], volumes[1])
    assert volumes[0].shape != volumes[2].shape or not torch.equal(volumes[0], volumes[2])
    assert all(have >= need for v in volumes for have, need in zip(v.shape[1:], (24, 16, 20), strict=True))
    assert volumes[0].pixdim.tolist() == [2, 2, 2]


def test_thick_slices_are_rougher_across_than_along():
    volume = ContentFreed((40, 40, 40), 1.0)({"image": "anisotropic noise/0"})["image"][0].as_tensor()
    across, along = volume.diff(dim=0).std(), volume.diff(dim=-1).std()
    assert across > 1.5 * along


@pytest.mark.parametrize(("low", "gated", "passed"), [(0.06, True, True), (0.08, True, False), (0.9, False, True)])
def test_verdict(low, gated, passed):
    assert Result("x", "y", 0.9, low, 0.95, 0.02, 500, gated).passed == passed
