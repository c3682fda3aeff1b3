"""Export for nnU-Net and MONAI, and import of exported files."""

import json

import pytest
import torch
from monai.bundle import ConfigComponent
from monai.utils import optional_import

from tools.networks import build_encoder, build_segmenter
from tools.transfer import export_encoder, export_weights, load_encoder, read_card
from tools.transfer.formats.export import export_for
from tools.transfer.model import load_model
from tools.utils.errors import InputError

CARD = {
    "task": "mae3d",
    "channels": ["CT"],
    "orientation": "RAS",
    "spacing": [1.0, 1.5, 3.0],
    "intensity": {"hu_window": [-100, 240]},
    "roi_size": [40, 32, 16],
    "cases": [{"case": "a", "hashes": ["11"]}],
    "origin": {"file": "w.pth", "format": "nnssl checkpoint", "license": "cc-by-sa-4.0", "citations": [{"type": "A"}]},
}
needs_nnunet = pytest.mark.skipif(
    not optional_import("dynamic_network_architectures")[1], reason="dynamic-network-architectures is not installed"
)
needs_einops = pytest.mark.skipif(not optional_import("einops")[1], reason="einops is not installed")
MONAI = [
    (
        ["unet", {"features": [8, 8, 8, 8, 8]}],
        "batch",
        lambda net, x: net.down_4(net.down_3(net.down_2(net.down_1(x)))),
    ),
    (["segresnet", {"init_filters": 8}], "group", lambda net, x: net.encode(x)[0]),
    (["segresnet_ds", {"init_filters": 8}], "group", lambda net, x: net.encoder(x)[-1]),
    pytest.param(["swin", {"feature_size": 12}], "auto", lambda net, x: net.swinViT(x)[-1], marks=needs_einops),
]
RESENC = {"features": [8, 8, 16], "blocks": [1, 2, 1], "strides": [1, [2, 2, 1], 2], "kernel_sizes": [[3, 3, 1], 3, 3]}


def write(folder, options, norm="auto", dims=3, seed=0, **more):
    torch.manual_seed(seed)
    encoder = build_encoder(options, spatial_dims=dims, norm=norm, **more).eval()
    for value in encoder.state_dict().values():
        if value.is_floating_point():
            value.add_(0.1 * torch.rand_like(value))  # no norm is the identity
    export_encoder(encoder, folder / "model.pt", CARD)
    return encoder


def reload(encoder, path, **options):
    other = build_encoder(**encoder.arguments)
    report = load_encoder(other, path, **options)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in encoder.state_dict().items())
    return report


@pytest.mark.parametrize(("options", "norm", "features"), MONAI, ids=["unet", "segresnet", "segresnet_ds", "swin"])
def test_monai_loads_the_file_strictly_and_computes_the_same(tmp_path, options, norm, features):
    encoder = write(tmp_path, options, norm)
    lines = export_for("monai", tmp_path / "model.pt", tmp_path / "whole.pt", 3)
    card = read_card(tmp_path / "whole.pt")
    network = ConfigComponent(config=card["network"]).instantiate().eval()
    network.load_state_dict(torch.load(tmp_path / "whole.pt", weights_only=True))
    image = torch.randn(1, 1, 32, 32, 48)
    with torch.no_grad():
        found = features(network, network.conv_0(image) if hasattr(network, "conv_0") else image)
        torch.testing.assert_close(encoder(image), found, rtol=1e-4, atol=1e-4)
    assert "the decoder has random weights" in lines
    assert "cc-by-sa-4.0" in lines[-1]
    assert {key: card[key] for key in CARD} == CARD
    reload(encoder, tmp_path / "whole.pt")


def test_a_trained_segmentation_network_is_a_whole_basic_unet(tmp_path):
    torch.manual_seed(0)
    encoder = build_encoder(["unet", {"features": [8, 8, 16, 16, 16]}], norm="batch")
    network = build_segmenter(encoder, 4).eval()
    export_weights(network, tmp_path / "model.pt", {**CARD, "encoder": encoder.arguments})
    export_for("monai", tmp_path / "model.pt", tmp_path / "whole.pt")
    stock = ConfigComponent(config=read_card(tmp_path / "whole.pt")["network"]).instantiate().eval()
    stock.load_state_dict(torch.load(tmp_path / "whole.pt", weights_only=True))
    image = torch.randn(1, 1, 32, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(stock(image), network(image), rtol=1e-4, atol=1e-4)


def test_half_precision_is_the_same_network_in_half_the_size(tmp_path):
    torch.manual_seed(0)
    encoder = build_encoder(["unet", {"features": [8, 8, 16, 16, 16]}], norm="batch")
    network = build_segmenter(encoder, 4).eval()
    export_weights(network, tmp_path / "model.pt", {**CARD, "encoder": encoder.arguments})
    export_for("half", tmp_path / "model.pt", tmp_path / "half.pt")
    assert (tmp_path / "half.pt").stat().st_size < 0.6 * (tmp_path / "model.pt").stat().st_size
    other = build_segmenter(build_encoder(**encoder.arguments), 4).eval()
    card = load_model(other, tmp_path / "half.pt", "train")
    assert {key: card[key] for key in CARD} == CARD
    image = torch.randn(1, 1, 32, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(other(image), network(image), rtol=0, atol=2e-2)
    load_encoder(build_encoder(**encoder.arguments), tmp_path / "half.pt")


@needs_nnunet
@pytest.mark.parametrize("channels", [1, 4])
def test_nnu_net_sees_the_transposed_scan_as_we_see_the_scan(tmp_path, channels):
    """The stock network, built from the plan in the file, has our features with x and z exchanged."""
    from dynamic_network_architectures.architectures import unet
    from torch import nn

    encoder = write(tmp_path, ["resenc", RESENC], in_channels=channels)
    export_for("nnunet", tmp_path / "model.pt", tmp_path / "encoder.pth")
    content = torch.load(tmp_path / "encoder.pth", weights_only=True)
    kwargs = content["nnssl_adaptation_plan"]["architecture_plans"]["arch_kwargs"]
    classes = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    network = unet.ResidualEncoderUNet(channels, num_classes=2, **{**kwargs, **classes}).eval()
    state = {key.removeprefix("encoder."): value for key, value in content["network_weights"].items()}
    network.encoder.load_state_dict(state)
    image = torch.randn(1, channels, 16, 24, 20)
    with torch.no_grad():
        theirs = network.encoder(image.permute(0, 1, 4, 3, 2))
        for ours, other in zip(encoder.features(image), theirs, strict=True):
            torch.testing.assert_close(ours, other.permute(0, 1, 4, 3, 2), rtol=1e-4, atol=1e-4)


@needs_nnunet
def test_the_plan_names_what_nnu_net_and_we_need(tmp_path):
    encoder = write(tmp_path, ["resenc", RESENC])
    lines = export_for("nnunet", tmp_path / "model.pt", tmp_path / "encoder.pth")
    content = torch.load(tmp_path / "encoder.pth", weights_only=True)
    plan = content["nnssl_adaptation_plan"]
    (configuration,) = plan["pretrain_plan"]["configurations"].values()
    assert configuration["spacing"] == [3.0, 1.5, 1.0]  # z, y, x
    assert configuration["patch_size"] == plan["recommended_downstream_patchsize"] == [16, 32, 40]
    assert plan["architecture_plans"]["arch_kwargs"]["strides"] == [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    assert plan["architecture_plans"]["arch_kwargs"]["kernel_sizes"][0] == [1, 3, 3]
    assert configuration["normalization_schemes"] == ["window of -100 to 240 HU"]
    assert content["license"] == "cc-by-sa-4.0"
    assert content["citations"] == [{"type": "A"}]
    assert any("cc-by-sa-4.0" in line for line in lines)
    report = reload(encoder, tmp_path / "encoder.pth", expected={"spacing": 2.0})
    assert "(2, 3, 4)" in str(report)
    assert any("spacing: pretrained with [1.0, 1.5, 3.0], here 2.0" in one for one in report.warnings)


@needs_nnunet
def test_the_cases_of_the_pretraining_travel(tmp_path):
    encoder = write(tmp_path, ["resenc", RESENC])
    export_for("nnunet", tmp_path / "model.pt", tmp_path / "encoder.pth")
    with pytest.raises(InputError, match="t \\(pretrained on as a\\)"):
        reload(encoder, tmp_path / "encoder.pth", test_cases=[{"case": "t", "hashes": ["11"]}])


@needs_nnunet
def test_resampling_is_not_warned_of_without_spacing(tmp_path):
    encoder = write(tmp_path, ["resenc", RESENC])
    export_encoder(encoder, tmp_path / "model.pt", {**CARD, "spacing": None})
    export_for("nnunet", tmp_path / "model.pt", tmp_path / "encoder.pth")
    content = torch.load(tmp_path / "encoder.pth", weights_only=True)
    torch.save({key: value for key, value in content.items() if key != "card"}, tmp_path / "encoder.pth")
    report = reload(encoder, tmp_path / "encoder.pth", expected={"spacing": 2.0})
    assert not any(one.startswith("spacing") for one in report.warnings)


@pytest.mark.parametrize(
    ("to", "options", "norm", "message"),
    [
        ("nnunet", "unet", "group", "found unet .*resenc_l"),
        ("nnunet", ["segresnet", {"init_filters": 8}], "group", "found segresnet"),
        ("monai", "resnet18", "batch", "found resnet18"),
        ("monai", ["unet", {"round_up": True}], "group", "found unet that rounds up"),
        ("itk", "unet", "group", "--to: expected one of nnunet, monai"),
    ],
)
def test_other_encoders_are_refused_by_name(tmp_path, to, options, norm, message):
    write(tmp_path, options, norm)
    with pytest.raises(InputError, match=message):
        export_for(to, tmp_path / "model.pt", tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()


def test_no_file_is_overwritten_and_a_card_is_needed(tmp_path):
    write(tmp_path, "unet")
    before = (tmp_path / "model.pt").read_bytes()
    for out in ("model.pt", "model.pth"):  # both have the same card
        with pytest.raises(InputError, match="--out: expected a new file"):
            export_for("monai", tmp_path / "model.pt", tmp_path / out)
    assert (tmp_path / "model.pt").read_bytes() == before
    json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").unlink()
    with pytest.raises(InputError, match="expected a model with its card"):
        export_for("monai", tmp_path / "model.pt", tmp_path / "out.pt")
