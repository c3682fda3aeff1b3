import copy

import pytest
import torch
from monai.networks.nets import resnet18, resnet50
from torch import nn

from tools.networks.encoders import build_encoder
from tools.transfer.export import export_encoder
from tools.transfer.load import load_encoder
from tools.utils.errors import InputError

REACH = 3 + 1 + 16  # slices to either side that a voxel of resnet18's last map sees: stem, pooling, 16 convolutions


@pytest.fixture(scope="module")
def image():
    """A 2D network that stands for torchvision's: names, shapes, no bias in shortcuts, and a head."""
    torch.manual_seed(0)
    network = resnet18(spatial_dims=2, n_input_channels=3, conv1_t_stride=2, bias_downsample=False, num_classes=5)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture
def file(image, tmp_path):
    path = tmp_path / "pictures.pth"
    torch.save(image.state_dict(), path)
    return path


def _encoder(name="resnet18", **options):
    torch.manual_seed(1)
    options = {"norm": "batch", "conv1_t_stride": 2, "depth_stride": False} | options
    return build_encoder(name, **options).eval()


def _maps(network, images):
    x0 = network.act(network.bn1(network.conv1(images)))
    x1 = network.layer1(network.maxpool(x0))
    x2 = network.layer2(x1)
    x3 = network.layer3(x2)
    return [x0, x1, x2, x3, network.layer4(x3)]


@pytest.mark.parametrize("in_channels", [1, 2])
def test_a_stack_of_copies_gives_the_features_of_the_image_in_the_middle(image, file, in_channels):
    encoder = _encoder(in_channels=in_channels)
    load_encoder(encoder, file)
    grey = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    stack = grey[:, :, None].expand(-1, in_channels, 2 * REACH + 1, -1, -1)
    with torch.no_grad():
        expected, found = _maps(image, grey.expand(-1, 3, -1, -1)), encoder.features(stack)
    for flat, deep in zip(expected, found, strict=True):
        torch.testing.assert_close(deep[:, :, REACH], flat, rtol=1e-4, atol=1e-4)
    end = (found[-1][:, :, 0] - expected[-1]).abs().max()
    assert end > 0.01  # the zeros beyond the stack are seen there


def test_colours_stay_apart_where_the_encoder_has_as_many_channels(image, file):
    encoder = _encoder(in_channels=3)
    load_encoder(encoder, file)
    torch.testing.assert_close(encoder.conv1.weight.sum(2), image.conv1.weight)
    assert encoder.conv1.weight[:, :, 0].equal(encoder.conv1.weight[:, :, 6])


def test_the_report_names_every_tensor(image, file):
    encoder = _encoder()
    report = load_encoder(encoder, file)
    assert [e.name for e in report.with_status("skipped")] == ["fc.weight", "fc.bias"]
    assert {e.name for e in report.with_status("loaded", "adapted")} == set(encoder.state_dict())
    assert not report.with_status("missing")
    assert report.percent == 100
    notes = {e.name: e.note for e in report.entries}
    assert notes["conv1.weight"] == "3 input channels → 1: summed; repeated 7 times along depth, divided by 7"
    assert notes["layer3.1.conv2.weight"] == "repeated 3 times along depth, divided by 3"
    assert notes["layer2.0.downsample.0.weight"] == "given a depth of 1"
    assert notes["bn1.weight"] == ""
    assert str(file) in str(report)
    assert "the pretraining data is unknown" in str(report)
    assert encoder.bn1.running_var.equal(image.bn1.running_var)


def test_old_and_half_precision_files_lack_nothing(image, file):
    weights = {k: v.half() if v.is_floating_point() else v for k, v in image.state_dict().items()}
    torch.save({k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}, file)
    encoder = _encoder()
    report = load_encoder(encoder, file)
    assert report.percent == 100
    notes = {e.name: e.note for e in report.with_status("adapted")}
    assert notes["bn1.num_batches_tracked"] == "the file has none: 0"
    total = encoder.conv1.weight.sum((1, 2))
    torch.testing.assert_close(total, weights["conv1.weight"].float().sum(1), rtol=1e-5, atol=1e-5)


def test_bottlenecks_too(tmp_path):
    torch.save(
        resnet50(spatial_dims=2, n_input_channels=3, bias_downsample=False).state_dict(), tmp_path / "pictures.pth"
    )
    encoder = _encoder("resnet50")
    assert load_encoder(encoder, tmp_path / "pictures.pth").percent == 100


def _dropped(weights):
    return {k: v for k, v in weights.items() if k != "layer1.0.conv1.weight"}


def _lifted(weights):
    return {k: v[:, :, None] if v.ndim == 4 else v for k, v in weights.items()}


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"name": "resnet34"}, dict, "expected the weights of a 2D residual network for name resnet34.*no such tensor"),
        ({"name": "resnet50"}, dict, r"layer1.0.conv1.weight: expected \[64, 64, 1, 1\], found \[64, 64, 3, 3\]"),
        ({"norm": "group"}, dict, "bn1.running_mean: the encoder has no such tensor.*torchvision's networks: batch"),
        (
            {},
            _dropped,
            r"found 1 of 120 tensors that do not fit \(layer1.0.conv1.weight: the file has no such tensor\)",
        ),
        ({}, _lifted, "expected the weights of encoder resnet18.*do not fit"),
        ({}, lambda w: w | {"layer5.weight": torch.ones(1)}, "layer5.weight: the encoder has no such tensor"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(image, file, options, change, message):
    torch.save(change(image.state_dict()), file)
    encoder = _encoder(**options)
    before = copy.deepcopy(encoder.state_dict())
    with pytest.raises(InputError, match=message) as error:
        load_encoder(encoder, file)
    assert str(error.value).startswith(str(file))
    assert all(value.equal(before[key]) for key, value in encoder.state_dict().items())


def test_other_encoders_and_our_own_files_are_refused(file, tmp_path):
    with pytest.raises(InputError, match="expected the weights of encoder unet"):
        load_encoder(build_encoder("unet"), file)
    export_encoder(_encoder(spatial_dims=2, depth_stride=True), tmp_path / "model.pt", {})
    with pytest.raises(InputError, match="found one with encoder resnet18, spatial_dims 2"):
        load_encoder(_encoder(), tmp_path / "model.pt")


def test_p3d_and_mp3d_have_compatible_weights(tmp_path):
    norm = ["group", {"num_groups": 8}]
    source, target = (build_encoder(name, norm=norm, width=8) for name in ("mp3d18ba", "p3d18ba"))
    export_encoder(source, tmp_path / "model.pt", {})
    report = load_encoder(target, tmp_path / "model.pt")
    assert report.percent == 100
    assert "trained as mp3d18ba, here p3d18ba" in str(report)
    with pytest.raises(InputError, match="found one with encoder mp3d18ba"):
        load_encoder(build_encoder("p3d63", norm=norm, width=8), tmp_path / "model.pt")
