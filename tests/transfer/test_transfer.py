import hashlib
import json
import pickle
from contextlib import nullcontext

import pytest
import torch

from tools.networks.encoders import build_encoder
from tools.training.settings import compare_settings, to_json_types
from tools.transfer.export import export_encoder
from tools.transfer.load import load_encoder
from tools.transfer.model import load_model
from tools.utils.errors import InputError

CONTRACT = {
    "channels": ["CT"],
    "orientation": "RAS",
    "spacing": [2.0, 2.0, 2.0],
    "intensity": "HU -100..240 to 0..1",
    "roi": [64, 64, 64],
    "task": "cpc3d",
    "epochs": 2,
    "seed": 0,
    "cases": [{"case": "a", "hashes": ["11", "12"]}, {"case": "b", "hashes": ["21"]}],
}


def _encoder(seed=0, **arguments):
    torch.manual_seed(seed)
    return build_encoder(**{"name": "unet", "spatial_dims": 2, "norm": "batch"} | arguments)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "models" / "model.pt"
    export_encoder(_encoder(), path, CONTRACT)
    return path


def _rewrite(model, change):
    """Write weights that differ from the exported ones, without a card."""
    weights = torch.load(model, weights_only=True)
    model.with_suffix(".json").unlink()
    torch.save(change(weights), model)


def test_round_trip_is_bit_equal_and_complete(model):
    encoder = _encoder(seed=1)
    report = load_encoder(encoder, model, expected=CONTRACT, test_cases=[{"case": "z", "hashes": ["99"]}])
    stored = torch.load(model, weights_only=True)
    assert all(torch.equal(v, stored[k]) for k, v in encoder.state_dict().items())
    assert report.percent == 100
    assert len(report.with_status("loaded")) == len(stored) == len(report.entries)
    assert report.warnings == []
    text = str(report)
    assert "100.0 % of the encoder's parameters" in text
    assert len(text.splitlines()) == 2 + 5 + 2  # head, modules, total and percent


def test_contract_rebuilds_and_names_versions(model):
    card = json.loads(model.with_suffix(".json").read_text())
    assert card | CONTRACT == card
    assert card["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert set(card["versions"]) == {"python", "torch", "monai", "numpy", "tools"}
    load_encoder(build_encoder(**card["encoder"]), model)


def test_same_weights_same_bytes(model, tmp_path):
    export_encoder(_encoder(), tmp_path / "again.pt", CONTRACT)
    assert (tmp_path / "again.pt").read_bytes() == model.read_bytes()
    assert sorted(p.name for p in model.parent.iterdir()) == ["model.json", "model.pt"]


def test_export_needs_arguments(tmp_path):
    encoder = _encoder()
    encoder.arguments = {}
    with pytest.raises(InputError, match="build_encoder"):
        export_encoder(encoder, tmp_path / "model.pt", CONTRACT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "theirs", "ours", "how"),
    [
        ("unet", 1, 4, "repeated 4"),
        ("unet", 3, 1, "summed"),
        ("unet", 2, 4, "by 2/4"),
        ("resnet18", 1, 4, "repeated 4"),
    ],
)
def test_input_channels_adapted_with_equal_response(tmp_path, name, theirs, ours, how):
    source, target = _encoder(name=name, in_channels=theirs), _encoder(1, name=name, in_channels=ours)
    export_encoder(source, tmp_path / "model.pt", CONTRACT)
    report = load_encoder(target, tmp_path / "model.pt")
    assert report.percent == 100
    assert [how in e.note for e in report.with_status("adapted")] == [True]
    assert how in str(report)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        wanted, found = (e.eval()(image.expand(-1, e.in_channels, -1, -1)) for e in (source, target))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("pretrained", "present", "chosen"),
    [
        (["T1", "FLAIR"], ["FLAIR"], [1]),
        (["T1", "FLAIR"], ["T1"], [0]),
        (["T1", "FLAIR"], ["FLAIR", "T1"], [1, 0]),
        (["T1", "T2", "FLAIR"], ["flair", "T1"], [2, 0]),
        (["T1", "FLAIR"], ["T1", "FLAIR"], [0, 1]),
    ],
)
@pytest.mark.parametrize("name", ["unet", "resnet18"])
def test_input_channels_are_selected_by_name(tmp_path, name, pretrained, present, chosen):
    """The response to the present channels equals the pretrained network with the others at 0."""
    source = _encoder(name=name, in_channels=len(pretrained))
    target = _encoder(1, name=name, in_channels=len(present))
    export_encoder(source, tmp_path / "model.pt", CONTRACT | {"channels": pretrained})
    report = load_encoder(target, tmp_path / "model.pt", expected=CONTRACT | {"channels": present})
    assert report.percent == 100
    assert report.warnings == []
    assert [", ".join(present) in e.note for e in report.with_status("adapted")] == [True] * (pretrained != present)
    image = torch.rand(2, len(present), 32, 32)
    full = torch.zeros(2, len(pretrained), 32, 32)
    full[:, chosen] = image
    with torch.no_grad():
        torch.testing.assert_close(target.eval()(image), source.eval()(full), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("pretrained", "present", "reason"),
    [
        (["T1", "FLAIR"], ["T2"], "T2 are not all among T1, FLAIR"),
        (["image", "image"], ["image"], "not all channels have a name"),
        (["T1"], ["T1", "T2"], "T1, T2 are not all among T1"),
    ],
)
def test_other_input_channels_are_adapted_with_a_reason(tmp_path, pretrained, present, reason):
    source, target = (_encoder(in_channels=len(names)) for names in (pretrained, present))
    export_encoder(source, tmp_path / "model.pt", CONTRACT | {"channels": pretrained})
    report = load_encoder(target, tmp_path / "model.pt", expected={"channels": present})
    assert [reason in e.note for e in report.with_status("adapted")] == [True]
    first = next(iter(source.state_dict()))
    ours, theirs = (one.state_dict()[first].sum(1) for one in (target, source))
    torch.testing.assert_close(ours, theirs)
    assert [w.partition(":")[0] for w in report.warnings] == ["channels"]


def test_differences_from_the_contract_are_warned_of(model):
    expected = {"channels": ("T1",), "orientation": "LPS", "spacing": (1, 1, 1), "intensity": "z-score", "roi": [1]}
    report = load_encoder(_encoder(dropout=0.5), model, expected=expected)
    words = [w.partition(":")[0] for w in report.warnings]
    assert words == ["dropout", "channels", "orientation", "spacing", "intensity"]
    assert "warning: spacing: pretrained with [2.0, 2.0, 2.0], here [1, 1, 1]" in str(report)
    assert not load_encoder(_encoder(), model, expected={"spacing": (2, 2, 2)}).warnings


@pytest.mark.parametrize(
    ("trained", "here", "differs"),
    [
        (2.0, [2.0, 2.0, 2.0], False),
        ([2, 2, 2], 2.0, False),
        ([1, 1, 3], (1.0, 1.0, 3.0), False),
        (2.0, [2, 2, 3], True),
        ([1, 1, 3], 1.0, True),
        (None, 1.0, True),
        (None, None, False),
    ],
)
def test_one_number_for_spacing_stands_for_three(tmp_path, trained, here, differs):
    export_encoder(_encoder(), tmp_path / "model.pt", CONTRACT | {"spacing": trained})
    warnings = load_encoder(_encoder(), tmp_path / "model.pt", expected={"spacing": here}).warnings
    assert [warning.partition(":")[0] for warning in warnings] == ["spacing"] * differs
    recorded, wanted = to_json_types({"spacing": trained}), to_json_types({"spacing": here})
    with pytest.raises(InputError, match=r"^spacing: ") if differs else nullcontext():
        compare_settings("model.json", recorded, wanted)


def test_overlap_with_test_cases_is_refused(model):
    tested = [{"case": "y", "hashes": ["98"]}, {"case": "z", "hashes": ["97", "12"]}]
    encoder = _encoder(seed=1)
    before = encoder.conv_0.conv_0.conv.weight.clone()
    with pytest.raises(InputError, match=r"found 1 that were: z \(pretrained on as a\)"):
        load_encoder(encoder, model, test_cases=tested)
    assert torch.equal(before, encoder.conv_0.conv_0.conv.weight)
    report = load_encoder(encoder, model, test_cases=tested, allow_test_leakage=True)
    assert "pretrained on as a" in report.warnings[0]


def test_without_contract_it_warns(model):
    _rewrite(model, dict)
    report = load_encoder(_encoder(), model, expected=CONTRACT)
    assert len(report.warnings) == 1
    assert "no model card" in report.warnings[0]
    assert report.percent == 100


def test_tampering_is_found(model):
    card = model.with_suffix(".json").read_text()
    _rewrite(model, lambda w: {k: v + 1 for k, v in w.items()})
    model.with_suffix(".json").write_text(card)
    with pytest.raises(InputError, match="expected SHA-256"):
        load_encoder(_encoder(), model)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": "1", "encoder": "unet"}'])
def test_damaged_contract(model, text):
    model.with_suffix(".json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json: .*expected"):
        load_encoder(_encoder(), model)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"spatial_dims": 3}, "spatial_dims 2"),
        ({"norm": "group"}, "norm batch"),
        ({"name": "resnet18"}, "encoder unet"),
    ],
)
def test_another_encoder_is_refused_by_its_contract(model, arguments, found):
    with pytest.raises(InputError, match=f"found one with .*{found}"):
        load_encoder(_encoder(**arguments), model)


def test_norms_with_equal_tensors_are_distinguished(tmp_path):
    export_encoder(_encoder(norm="group"), tmp_path / "model.pt", CONTRACT)
    load_encoder(_encoder(norm=("group", {"num_groups": 8})), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"norm instance.* found one with .*norm group"):
        load_encoder(_encoder(norm="instance"), tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if "down_4" not in k}, "12 of 70 .*down_4.* not in the file; …"),
        (lambda w: w | {"down_5.bias": torch.zeros(2)}, r"1 of 70 .*down_5.bias: not in the encoder, file \(2,\)"),
        (lambda w: {f"layer.{i}": v for i, v in enumerate(w.values())}, "keys conv_0.* found keys layer.0, layer.1"),
        (lambda w: w | {"down_1.convs.conv_0.conv.bias": torch.zeros(7)}, r"encoder \(32,\), file \(7,\)"),
        (
            lambda w: {f"{p}.{k}": v + i for k, v in w.items() for i, p in enumerate("qk")},
            "prefixes 'q.' and 'k.'",
        ),
        (lambda w: w | {"conv_0.conv_0.conv.bias": torch.full((16,), torch.nan)}, "NaN .*conv_0.conv_0.conv.bias"),
        (lambda w: {"network": w, "optimizer": {}, "progress": {}}, "training checkpoint; pass .*model.pt"),
        (lambda w: {"weights": w, "epoch": 3}, "one under .*state_dict.* found weights, epoch"),
        (lambda w: {}, "nothing in it"),
        (lambda w: torch.zeros(3), "found a Tensor"),
    ],
)
def test_wrong_weights_are_refused_untouched(model, change, message):
    _rewrite(model, change)
    encoder = _encoder(seed=1)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(encoder, model)
    assert "\n" not in str(caught.value)
    assert str(model) in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_other_features_list_both_shapes(model):
    with pytest.raises(InputError, match=r"encoder \(8, 1, 3, 3\), file \(16, 1, 3, 3\)"):
        load_encoder(_encoder(features=(8, 16, 32, 64, 128)), model)


@pytest.mark.filterwarnings("ignore:'torch.load' received")
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda p: p.unlink(), "No such file"),
        (lambda p: p.write_bytes(b""), "a part of one"),
        (lambda p: p.write_bytes(p.read_bytes()[:5000]), "a part of one"),
        (lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]), "a part of one"),
        (lambda p: p.write_text("not a torch file"), "torch.save did not write"),
        (lambda p: p.write_bytes(pickle.dumps([_encoder])), "torch.save did not write"),
        (lambda p: (p.unlink(), p.mkdir()), "Is a directory"),
        (lambda p: torch.jit.save(torch.jit.script(torch.nn.ReLU()), p), "TorchScript archive; save its tensors"),
        (lambda p: torch.save(_encoder(), p), "an object of"),
    ],
    ids=["missing", "empty", "truncated", "half", "text", "pickle", "folder", "torchscript", "pickled"],
)
def test_unreadable_files(model, damage, found):
    damage(model)
    message = rf"model.pt: expected an encoder's weights \(model.pt\), found .*{found}"
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(_encoder(), model)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_file_that_needs_unpickling_is_refused_with_the_reason(model):
    torch.save({"weights": _encoder()}, model)
    with pytest.raises(InputError, match=r"object of tools.networks.*UNetEncoder in it; unpickling") as caught:
        load_encoder(_encoder(), model)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_a_network_that_was_wrapped_loads(tmp_path, prefix):
    network, other = (torch.nn.Sequential(torch.nn.Linear(2, 2)) for _ in range(2))
    torch.save({prefix + k: v for k, v in network.state_dict().items()}, tmp_path / "model.pt")
    load_model(other, tmp_path / "model.pt", "command")
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())
