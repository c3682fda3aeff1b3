"""Checkpoints of nnssl and nnU-Net, made by the original architecture."""

import json

import numpy as np
import pytest
import torch
from monai.utils import optional_import
from torch import nn

from tools.networks import build_encoder
from tools.transfer import load_encoder
from tools.utils.errors import InputError

if not optional_import("dynamic_network_architectures")[1]:
    pytest.skip("dynamic-network-architectures is not installed", allow_module_level=True)

from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

#: sizes along z, y, x: thick slices, as nnU-Net plans them
KWARGS = {
    "n_stages": 3,
    "features_per_stage": [8, 8, 16],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "n_blocks_per_stage": [1, 2, 1],
    "n_conv_per_stage_decoder": [1, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
CLASSES = {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
NAME = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
OPTIONS = {"features": [8, 8, 16], "blocks": [1, 2, 1], "strides": [1, [2, 2, 1], 2], "kernel_sizes": [[3, 3, 1], 3, 3]}
#: the same where nnU-Net has put y first
SWAPPED = {**OPTIONS, "strides": [1, [2, 1, 2], 2], "kernel_sizes": [[3, 1, 3], 3, 3]}


def original(seed=0):
    torch.manual_seed(seed)
    return ResidualEncoderUNet(1, num_classes=2, **{**KWARGS, **CLASSES}).eval()


def nnssl(network, transpose=(0, 1, 2), name=NAME, kwargs=KWARGS, spacing=(3.0, 1.0, 1.0)):
    """The content that nnssl's trainer writes."""
    configuration = {"spacing": spacing, "patch_size": [16, 32, 32], "normalization_schemes": ["ZScoreNormalization"]}
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "logging": {"train_losses": [np.float64(0.5), np.float32(0.25)]},
        "trainer_name": "BaseMAETrainer",
        "nnssl_adaptation_plan": {
            "architecture_plans": {"arch_class_name": name, "arch_kwargs": kwargs, "arch_kwargs_requiring_import": []},
            "pretrain_plan": {"configurations": {"3d": configuration}, "transpose_forward": list(transpose)},
            "pretrain_num_input_channels": 1,
            "key_to_encoder": "encoder.stages",
            "key_to_stem": "encoder.stem",
        },
    }


def nnunet(network, transpose=(0, 1, 2), inside=True):
    """The content that nnU-Net's trainer writes."""
    architecture = {"network_class_name": NAME, "arch_kwargs": KWARGS, "_kw_requires_import": []}
    configurations = {
        "3d_fullres": {"spacing": [3.0, 1.0, 1.0], "architecture": architecture},
        "3d_cascade": {"inherits_from": "3d_fullres"},
    }
    plans = {"configurations": configurations, "transpose_forward": list(transpose)}
    settings = {"init_args": {"plans": plans, "configuration": "3d_cascade", "device": torch.device("cpu")}}
    return {"network_weights": network.state_dict(), **(settings if inside else {})}, plans


def encoder_for(options=OPTIONS):
    torch.manual_seed(1)
    return build_encoder(["resenc", options]).eval()


def same_features(network, encoder, axes):
    """Compare features of a scan x, y, z with those of the original network of the scan with axes `axes`."""
    image = torch.randn(1, 1, 16, 24, 20)
    there = [0, 1, *(2 + axis for axis in axes)]
    back = [0, 1, *(2 + axes.index(axis) for axis in range(3))]
    with torch.no_grad():
        theirs = network.encoder(image.permute(there))
        for ours, other in zip(encoder.features(image), theirs, strict=True):
            torch.testing.assert_close(ours, other.permute(back), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("transpose", "axes", "options"),
    [((0, 1, 2), (2, 1, 0), OPTIONS), ((1, 0, 2), (1, 2, 0), SWAPPED)],
    ids=["zyx", "yzx"],
)
@pytest.mark.parametrize("kind", ["nnssl", "nnU-Net", "plans.json"])
def test_the_axes_follow_the_plan(tmp_path, kind, transpose, axes, options):
    network, path = original(), tmp_path / "fold_0" / "checkpoint_final.pth"
    path.parent.mkdir()
    content, plans = nnunet(network, transpose, inside=kind == "nnU-Net")
    if kind == "plans.json":
        (tmp_path / "plans.json").write_text(json.dumps(plans))
    torch.save(nnssl(network, transpose) if kind == "nnssl" else content, path)
    encoder = encoder_for(options)
    report = load_encoder(encoder, path, expected={"spacing": [1.0, 3.0, 1.0] if options is SWAPPED else [1, 1, 3]})
    same_features(network, encoder, axes)
    assert report.percent == 100
    text = str(report)
    words = [f"recognised: {kind.replace('plans.json', 'nnU-Net')} checkpoint", "under network_weights", "decoder ("]
    assert [word for word in [*words, "prefix: encoder. removed", "not flipped"] if word not in text] == []
    assert not any(one.startswith("spacing") for one in report.warnings)


def test_the_preset_of_nnssl_loads_into_resenc_l(tmp_path):
    encoder = build_encoder("resenc_l")
    state = {f"encoder.{key}": value.clone() for key, value in encoder.state_dict().items()}
    network = type("Network", (), {"state_dict": lambda self: state})()
    torch.save(nnssl(network, name="ResEncL", kwargs=None, spacing=None), tmp_path / "checkpoint_final.pth")
    report = load_encoder(encoder, tmp_path / "checkpoint_final.pth", expected={"spacing": 1.0})
    assert len(report.with_status("loaded")) == len(report.entries) == len(state)
    assert not any(one.startswith("spacing") for one in report.warnings)
    with pytest.raises(InputError, match='pass --encoder "resenc_l"'):
        load_encoder(encoder_for(), tmp_path / "checkpoint_final.pth")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (
            lambda c: {"network_weights": c["network_weights"]},
            OPTIONS,
            "with its plan, found none.*axis order.*plans.json",
        ),
        (lambda c: c | {"nnssl_adaptation_plan": {}}, OPTIONS, "without 'pretrain_plan'"),
        (dict, {**OPTIONS, "strides": None}, r"other levels, widths or strides; pass --encoder .*\[2, 2, 1\]"),
        (dict, {**OPTIONS, "features": [8, 16, 16]}, r"pass --encoder .*\[8, 8, 16\]"),
    ],
    ids=["no plan", "empty plan", "strides", "widths"],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, change, options, message):
    torch.save(change(nnssl(original())), tmp_path / "checkpoint_final.pth")
    with pytest.raises(InputError, match=message) as caught:
        load_encoder(encoder_for(options), tmp_path / "checkpoint_final.pth")
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_networks_without_an_encoder_here_are_refused_by_name(tmp_path):
    sizes = {key: value for key, value in {**KWARGS, **CLASSES}.items() if key != "n_blocks_per_stage"}
    network = PlainConvUNet(1, num_classes=2, n_conv_per_stage=[1, 1, 1], **sizes)
    for name in ("PlainConvUNet", "PrimusM"):
        torch.save(nnssl(network, name=name), tmp_path / "checkpoint_final.pth")
        with pytest.raises(InputError, match=f"found {name}, for which there is no encoder"):
            load_encoder(encoder_for(), tmp_path / "checkpoint_final.pth")


def test_another_encoder_is_refused_with_the_one_of_the_file(tmp_path):
    torch.save(nnssl(original()), tmp_path / "checkpoint_final.pth")
    with pytest.raises(InputError, match=r"pass --encoder .*resenc.*features"):
        load_encoder(build_encoder("unet"), tmp_path / "checkpoint_final.pth")


def test_objects_other_than_numbers_need_no_unpickling(tmp_path):
    """NumPy's numbers of a training log are read, an arbitrary object is not."""
    content = nnssl(original())
    torch.save(content | {"logging": np.random.default_rng(0)}, tmp_path / "checkpoint_final.pth")
    with pytest.raises(InputError, match="unpickling it can run any code"):
        load_encoder(encoder_for(), tmp_path / "checkpoint_final.pth")
