"""Every pretext bundle has chance accuracy on content-free images, and the shortcut test fails if one does not."""

import json
import math

import pytest
import torch
from extra_methods.thumbnail import RotationAndThumbnail
from harness import COMMON, DISTINCT, PRETEXT, TINY, config, has_accuracy, tiny

from tools.pretext.cpc.task import CPC
from tools.shortcuts.__main__ import main
from tools.shortcuts.confusion import ConfusionMatrix
from tools.shortcuts.features import HandcraftedFeatures
from tools.shortcuts.run import Result, _loaders, _parser, pretext_task, shortcut_test
from tools.shortcuts.sources import SOURCES, ContentFreeImaged
from tools.utils.errors import InputError

SETTINGS = {key: COMMON[key] for key in ("epochs", "steps_per_epoch", "lr_warmup_epochs")} | {"batch_size": 4}


#: patches smaller than an encoder takes will do for features
SMALL = {"cpc3d": [24] * 3, "rpl3d": [27] * 3, "jigsaw3d": [27] * 3}


@pytest.mark.parametrize("bundle", [b for b in PRETEXT if has_accuracy(b) and b in [*DISTINCT, "rotation3d"]])
def test_content_free_images_give_chance(bundle):
    settings = {**tiny(bundle), **SETTINGS}
    settings["roi_size"] = SMALL.get(bundle, settings["roi_size"])
    controls = pretext_task(config(bundle, "train"), **settings).controls
    assert len(controls) == 2
    for found in shortcut_test(
        config(bundle, "train"), controls, "handcrafted features", steps=30, draws=500, **settings
    ):
        assert found.draws >= 500
        assert found.is_control
        assert found.passed, str(found)


def test_a_method_without_accuracy_declares_no_controls(capsys, tmp_path):
    main(config("byol2d", "train"), output=str(tmp_path / "shortcuts.json"), **tiny("byol2d"))
    assert "declares no shortcut controls" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected a task with an accuracy, found BYOL"):
        shortcut_test(config("byol2d", "train"), **tiny("byol2d"))


def test_method_without_controls_is_only_reported(capsys, monkeypatch):
    monkeypatch.setattr(RotationAndThumbnail, "controls", ())
    settings = {**tiny("thumbnail2d"), **SETTINGS, "steps": 1, "draws": 4}
    main(config("thumbnail2d", "train"), sources="constant", solvers="handcrafted features", **settings)
    printed = capsys.readouterr().out
    assert "this method declares no shortcut controls" in printed
    assert "pass" not in printed


def test_zero_padding_fails_the_control(monkeypatch):
    """The reference pads crops with zeros, which reveals the position of a patch."""
    whole = CPC._patches

    def padded(task, images, params):
        framed = torch.zeros_like(images)
        framed[..., 4:-4, 4:-4, 4:-4] = images[..., 4:-4, 4:-4, 4:-4] + 1
        return whole(task, framed, params)

    monkeypatch.setattr(CPC, "_patches", padded)
    settings = {**TINY["cpc3d"], **SETTINGS, "roi_size": [36] * 3}
    settings |= {"negatives_same_volume": 15, "negatives_other_volumes": 0}
    [found] = shortcut_test(
        config("cpc3d", "train"),
        ["white noise"],
        ["handcrafted features"],
        steps=60,
        draws=200,
        learning_rate=5e-3,
        **settings,
    )
    assert not found.passed, str(found)


@pytest.mark.parametrize("source", SOURCES)
def test_sources_are_seeded_and_at_least_the_crop(source):
    make = ContentFreeImaged((24, 16, 20), 2.0)
    volumes = [make({"image": f"{source}/{number}"})["image"] for number in (3, 3, 4)]
    assert torch.equal(volumes[0], volumes[1])
    assert volumes[0].shape != volumes[2].shape or not torch.equal(volumes[0], volumes[2])
    assert all(have >= need for v in volumes for have, need in zip(v.shape[1:], (24, 16, 20), strict=True))
    assert volumes[0].pixdim.tolist() == [2, 2, 2]


def test_thick_slices_are_rougher_across_than_along():
    volume = ContentFreeImaged((40, 40, 40), 1.0)({"image": "anisotropic noise/0"})["image"][0].as_tensor()
    across, along = volume.diff(dim=0).std(), volume.diff(dim=-1).std()
    assert across > 1.5 * along


def result(accuracy, chance, draws=500, is_control=True):
    return Result("x", "y", accuracy, accuracy, accuracy, chance, draws, is_control)


@pytest.mark.parametrize("draws", [500, 5000, 50000])
@pytest.mark.parametrize("chance", [0.01, 1 / 64, 1 / 26, 0.1, 0.25, 0.5])
def test_a_control_allows_half_of_chance_or_what_the_draws_resolve(chance, draws):
    limit = result(chance, chance, draws).margin
    resolved = 1.96 * math.sqrt(chance * (1 - chance) / draws)
    assert limit == pytest.approx(max(resolved, min(chance / 2, 0.05)))
    assert result(chance + 0.999 * limit, chance, draws).passed
    assert not result(chance + 1.001 * limit, chance, draws).passed
    assert result(1.0, chance, draws, is_control=False).passed


@pytest.mark.parametrize(("times", "passed"), [(1, True), (3, False)])
@pytest.mark.parametrize("bundle", ["jigsaw3d", "cpc3d"])
def test_a_leak_of_three_times_chance_fails(bundle, times, passed, monkeypatch):
    """Predictions of a solver with a given accuracy, one target per image."""
    settings = {**tiny(bundle), **SETTINGS, "roi_size": SMALL[bundle]}
    task = pretext_task(config(bundle, "train"), **settings)
    right = iter(torch.rand(512, generator=torch.Generator().manual_seed(0)) < times * task.chance)
    prediction = lambda *_: torch.stack([next(right) for _ in range(settings["batch_size"])]).float()  # noqa: E731
    monkeypatch.setattr(type(task), "accuracy", prediction)
    [found] = shortcut_test(config(bundle, "train"), "constant", "handcrafted features", steps=1, **settings)
    assert found.accuracy == pytest.approx(times * task.chance, rel=0.5)
    assert found.passed == passed, str(found)


def test_images_of_a_control_are_independent():
    """Crops of one noise image overlap and are not independent."""
    settings = {**tiny("jigsaw3d"), **SETTINGS}
    parser = _parser(config("jigsaw3d", "train"), "white noise", "handcrafted features", settings)
    training, checking = _loaders(parser, "white noise", 4, 6)
    parts = [[case for batch in loader for case in batch["case"]] for loader in (training, checking)]
    assert len(set(parts[1])) == 6 * settings["batch_size"]
    assert not set(parts[0]) & set(parts[1])


@pytest.mark.parametrize("draws", [0, 1, 2, 3])
def test_fewer_than_three_images_do_not_pass(draws):
    assert result(0.02, 0.02, draws).passed == (draws == 3)
    assert result(0.02, 0.02, draws, is_control=False).passed


def test_confusion_counts_valid_targets():
    confusion = ConfusionMatrix(["up", "down", "left"])
    scores = torch.eye(3)[torch.tensor([[0, 1], [1, 1], [2, 0]])]
    confusion.add(scores, torch.tensor([[0, 0], [1, -1], [1, 0]]))
    assert confusion.counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert "most frequent class 60.0%; recall highest for up (67%), lowest for down (50%)" in str(confusion)
    assert "most frequent error down for up (33%)" in str(confusion)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("ends", [(0, 1), (-1, -2)])
def test_features_include_every_face(axis, ends):
    """The two patches have equal extremes, halves and roughness."""
    patches = torch.zeros(2, 1, 8, 8, 8)
    for patch, (outer, inner) in zip(patches, (ends, ends[::-1]), strict=True):
        patch[0].select(axis, outer).fill_(1)
        patch[0].select(axis, inner).fill_(-1)
    one, other = HandcraftedFeatures(3)(patches)
    assert not torch.allclose(one, other, atol=1e-4)


def test_the_test_prints_the_permutations_and_the_confusion(tmp_path, capsys, scans):
    settings = {**tiny("jigsaw3d"), **SETTINGS, "steps": 1, "draws": 4, "dataset_dir": str(scans)}
    file = tmp_path / "shortcuts.json"
    main(config("jigsaw3d", "train"), output=str(file), sources="dataset", solvers="handcrafted features", **settings)
    printed = capsys.readouterr().out
    assert "smallest Hamming distance: " in printed
    assert "most frequent class" in printed
    content = json.loads(file.read_text())
    assert content["statistics"]["permutations"] == 100
    assert sum(map(sum, content["results"][0]["confusion"])) == 4 * TINY["jigsaw3d"]["views_per_volume"]


@pytest.mark.parametrize("valid", [1, 0])
def test_only_images_with_valid_targets_count(monkeypatch, valid):
    """Of two images per batch, one has a valid target, or none."""
    monkeypatch.setattr(CPC, "accuracy", lambda *_: torch.tensor([1.0 if valid else math.nan, math.nan]))
    settings = {**TINY["cpc3d"], **SETTINGS, "batch_size": 2}
    [found] = shortcut_test(config("cpc3d", "train"), "constant", "handcrafted features", steps=1, draws=6, **settings)
    assert found.draws == 3 * valid
    assert not found.passed
    expected = (1, 1, 1) if valid else (found.chance, math.nan, math.nan)
    assert (found.accuracy, found.low, found.high) == pytest.approx(expected, nan_ok=True)
    assert ("n = 0, no interval" in str(found)) == (not valid)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draw": 4}, "--draw: this bundle has no such key; did you mean --draws?"),
        ({"outpt": "x.json"}, "did you mean --output?"),
        ({"roi_sise": [8, 8, 8]}, "did you mean --roi_size?"),
        ({"draws": "many"}, "--draws: expected .*, found 'many'"),
        ({"dataset": "true"}, "--dataset: expected True or False"),
        ({"solvers": "trivial"}, "solvers: expected some of 'handcrafted features', 'small network', found 'trivial'"),
        ({"sources": ["constant", "noise"]}, "sources: expected some of 'constant', .*'dataset', found"),
        ({"sources": []}, r"sources: expected some of .*, found \[\]"),
        ({"config_file": "nowhere/train.json"}, "nowhere/train.json: expected a bundle's train.json, found nothing"),
        ({"config_file": config("cpc3d", "paper")}, "config_file .*expected .*train#task, found none"),
        ({"config_file": __file__}, "test_shortcuts.py: expected a bundle's train.json"),
    ],
)
def test_bad_input_is_named(settings, message):
    with pytest.raises(InputError, match=message):
        main(**{"config_file": config("cpc3d", "train"), **settings})
