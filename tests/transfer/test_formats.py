"""Published weights load from the layout of their project. A new format is one line of `SUITE`.

Each file is made by the original architecture with random weights, and the property is that the encoder then computes
the same maps.
"""

import re

import pytest
import torch
from monai.networks.nets import (
    BasicUNet,
    DenseNet121,
    SegResNet,
    SegResNetDS,
    SwinUNETR,
    resnet18,
    resnet34,
    resnet50,
)
from monai.utils import optional_import

from tools.networks import build_encoder
from tools.transfer import load_encoder
from tools.utils.errors import InputError

SWIN = {"feature_size": 12}
SIZE = {"swin": 32}


def swin_unetr(**options):
    return SwinUNETR(1, 2, feature_size=12, spatial_dims=3, **options)


def medicalnet(stock, kind):
    return stock(n_input_channels=1, feed_forward=False, bias_downsample=False, conv1_t_stride=2, shortcut_type=kind)


def resnet_options(kind):
    return {"shortcut_type": kind, "conv1_t_stride": 2}


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def old_swin(network):
    state = {re.sub(r"mlp\.linear", "mlp.fc", key): value for key, value in network.swinViT.state_dict().items()}
    return {"state_dict": prefixed("module.", state), "epoch": 1}


def voco(network):
    state = {key.replace("swinViT", "swin_vit"): value for key, value in network.state_dict().items()}
    return prefixed("module.", state)


#: original network, content of the file, the encoder that takes it, the last map of the original, words of the report
SUITE = {
    "BasicUNet": (
        lambda: BasicUNet(features=(8, 8, 16, 16, 16, 8), norm=("group", {"num_groups": 4})),
        lambda net: net.state_dict(),
        (["unet", {"features": [8, 8, 16, 16, 16]}], ["group", {"num_groups": 4}]),
        lambda net, x: net.down_4(net.down_3(net.down_2(net.down_1(net.conv_0(x))))),
        ["excluded", "upcat_1 (", "final_conv ("],
    ),
    "SegResNet": (
        lambda: SegResNet(init_filters=8, norm=("group", {"num_groups": 8})),
        lambda net: net.state_dict(),
        (["segresnet", {"init_filters": 8}], "group"),
        lambda net, x: net.encode(x)[0],
        ["excluded", "up_layers ("],
    ),
    "SegResNetDS": (
        lambda: SegResNetDS(init_filters=8, norm="batch", blocks_down=(1, 2, 2)),
        lambda net: net.state_dict(),
        (["segresnet_ds", {"init_filters": 8, "blocks_down": [1, 2, 2]}], "batch"),
        lambda net, x: net.encoder(x)[-1],
        ["prefix: encoder. removed", "up_layers ("],
    ),
    "SwinUNETR": (
        swin_unetr,
        lambda net: net.state_dict(),
        (["swin", SWIN], "auto"),
        lambda net, x: net.swinViT(x)[-1],
        ["prefix: swinViT. removed", "excluded", "decoder1 ("],
    ),
    "SwinUNETR pretraining": (
        swin_unetr,
        old_swin,
        (["swin", SWIN], "auto"),
        lambda net, x: net.swinViT(x)[-1],
        ["recognised: SwinUNETR pretraining", "under state_dict", "prefix: module. removed", "renamed: 32 keys"],
    ),
    "VoCo": (
        lambda: swin_unetr(use_v2=True),
        voco,
        (["swin", {**SWIN, "use_v2": True}], "auto"),
        lambda net, x: net.swinViT(x)[-1],
        ["recognised: VoCo", "prefix: module.swinViT. removed"],
    ),
    "SuPreM SwinUNETR": (
        swin_unetr,
        lambda net: {"net": prefixed("module.backbone.", net.state_dict()), "epoch": 1, "optimizer": {"state": {}}},
        (["swin", SWIN], "auto"),
        lambda net, x: net.swinViT(x)[-1],
        ["recognised: SuPreM", "under net", "prefix: module.backbone.swinViT. removed"],
    ),
    "SuPreM SegResNet": (
        lambda: SegResNet(init_filters=8, norm=("group", {"num_groups": 8})),
        lambda net: {"net": prefixed("module.backbone.", net.state_dict())},
        (["segresnet", {"init_filters": 8}], "group"),
        lambda net, x: net.encode(x)[0],
        ["recognised: SuPreM", "prefix: module.backbone. removed"],
    ),
    "Lightning": (
        lambda: BasicUNet(features=(8, 8, 16, 16, 16, 8), norm="batch"),
        lambda net: {"state_dict": prefixed("model.encoder.", net.state_dict()), "pytorch-lightning_version": "2.4.0"},
        (["unet", {"features": [8, 8, 16, 16, 16]}], "batch"),
        lambda net, x: net.down_4(net.down_3(net.down_2(net.down_1(net.conv_0(x))))),
        ["recognised: Lightning", "prefix: model.encoder. removed"],
    ),
    **{
        f"MedicalNet {name[6:]}": (
            lambda stock=stock, kind=kind: medicalnet(stock, kind),
            lambda net: {"state_dict": prefixed("module.", net.state_dict())},
            ([name, resnet_options(kind)], "batch"),
            lambda net, x: net.layer4(net.layer3(net.layer2(net.layer1(net.maxpool(net.act(net.bn1(net.conv1(x)))))))),
            ["recognised: MedicalNet", "prefix: module. removed", "dilated"],
        )
        for name, stock, kind in (("resnet18", resnet18, "A"), ("resnet34", resnet34, "A"), ("resnet50", resnet50, "B"))
    },
    "DenseNet121": (
        lambda: DenseNet121(2, 1, 5),
        lambda net: {"model_state_dict": prefixed("module.", net.state_dict())},
        ("densenet121", "batch"),
        lambda net, x: torch.relu(net.features(x)),
        ["recognised: training checkpoint", "class_layers ("],
    ),
}
CASES = [
    pytest.param(
        *case,
        id=name,
        marks=pytest.mark.skipif(
            "swin" in str(case[2][0]) and not optional_import("einops")[1], reason="einops is not installed"
        ),
    )
    for name, case in SUITE.items()
]


def build(options, norm, dims=3, seed=1):
    torch.manual_seed(seed)
    return build_encoder(options, spatial_dims=dims, norm=norm).eval()


@pytest.mark.parametrize(("original", "content", "options", "features", "words"), CASES)
def test_the_encoder_computes_what_the_original_network_does(tmp_path, original, content, options, features, words):
    torch.manual_seed(0)
    network = original().eval()
    torch.save(content(network), tmp_path / "weights.pt")
    dims = 2 if options[0] == "densenet121" else 3
    encoder = build(*options, dims)
    report = load_encoder(encoder, tmp_path / "weights.pt")
    image = torch.randn(1, 1, *(32, 40, 48)[:dims])
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), features(network, image), rtol=1e-4, atol=1e-4)
    assert report.percent == 100
    text = str(report)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("original", "options", "norm", "message"),
    [
        (
            lambda: BasicUNet(features=(8, 8, 16, 16, 16, 8), norm="batch"),
            "unet",
            "batch",
            r"encoder \(16, 1.*file \(8.*; pass the encoder of this file",
        ),
        (lambda: BasicUNet(features=(16, 32, 64, 128, 256, 8), norm="batch"), "unet", "group", "pass --norm batch"),
        (lambda: BasicUNet(features=(16, 32, 64, 128, 256, 8)), "unet", "batch", "pass --norm group or instance"),
        (lambda: BasicUNet(2, features=(16, 32, 64, 128, 256, 8), norm="batch"), "unet", "batch", "2D weights"),
        (lambda: SegResNet(), "unet", "group", r"keys conv_0\.conv_0.* found keys convInit"),
        (
            lambda: SegResNet(init_filters=16, blocks_down=(1, 2, 2, 4, 4), blocks_up=(1,) * 4),
            "segresnet",
            "group",
            "down_layers.4.*; pass the encoder of this file",
        ),
        (
            lambda: SegResNet(init_filters=16, blocks_down=(1, 2), blocks_up=(1,)),
            "segresnet",
            "group",
            "down_layers.2.* not in the file",
        ),
        (
            lambda: resnet34(n_input_channels=1, bias_downsample=False),
            "resnet18",
            "batch",
            "layer1.2.*not in the encoder",
        ),
        (lambda: medicalnet(resnet18, "A"), ["resnet18", {"conv1_t_stride": 2}], "batch", "type A.*shortcut_type"),
        (lambda: medicalnet(resnet18, "B"), ["resnet18", resnet_options("A")], "batch", "type B.*shortcut_type"),
    ],
    ids=["widths", "batch", "group", "2d", "architecture", "levels", "fewer", "blocks", "shortcut-a", "shortcut-b"],
)
def test_other_networks_are_refused_with_the_remedy(tmp_path, original, options, norm, message):
    torch.save(original().state_dict(), tmp_path / "weights.pt")
    encoder = build(options, norm)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(encoder, tmp_path / "weights.pt")
    assert str(caught.value).startswith(str(tmp_path / "weights.pt"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


@pytest.mark.skipif(not optional_import("einops")[1], reason="einops is not installed")
@pytest.mark.parametrize(("theirs", "ours"), [(True, False), (False, True)])
def test_versions_of_swin_unetr_are_distinguished(tmp_path, theirs, ours):
    torch.save(swin_unetr(use_v2=theirs).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(InputError, match="use_v2"):
        load_encoder(build(["swin", {**SWIN, "use_v2": ours}], "auto"), tmp_path / "weights.pt")


def test_old_files_without_counters_load(tmp_path):
    state = medicalnet(resnet18, "B").state_dict()
    torch.save({k: v for k, v in state.items() if "num_batches" not in k}, tmp_path / "weights.pt")
    assert load_encoder(build("resnet18", "batch"), tmp_path / "weights.pt").percent == 100


def test_medicalnet_stride_is_warned_of(tmp_path):
    torch.save({"state_dict": prefixed("module.", medicalnet(resnet18, "B").state_dict())}, tmp_path / "weights.pt")
    report = load_encoder(build("resnet18", "batch"), tmp_path / "weights.pt")
    assert any("conv1_t_stride: MedicalNet was trained with 2, here 1" in one for one in report.warnings)
