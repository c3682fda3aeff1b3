import pytest
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.anchor_utils import AnchorGenerator
from monai.networks.nets import BasicUNet

from tools.detection.detector import Detector
from tools.detection.network import RATIOS, DetectionNetwork
from tools.networks.anisotropic import build_anisotropic_encoder, build_stack_encoder
from tools.networks.encoders import build_encoder
from tools.utils.errors import InputError

ENCODERS = ["unet", "resnet18", "p3d18ba", "mp3d18ba", "p3d63"]


def built(name="unet", num_slices=9, depth_pooling="center", channels=16):
    torch.manual_seed(0)
    return DetectionNetwork(build_stack_encoder(name, "group"), num_slices, depth_pooling, channels)


def stacks(num_slices=9, size=64, batch=1):
    return torch.rand(batch, 1, num_slices, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENCODERS)
def test_level_sizes_match_their_strides(name):
    network = built(name)
    with torch.no_grad():
        maps = network(stacks())
    scores, codes = maps[: len(maps) // 2], maps[len(maps) // 2 :]
    assert network.strides[0] == 4
    assert [b / a for a, b in zip(network.strides, network.strides[1:], strict=False)] == [2.0] * (len(scores) - 1)
    for stride, score, code in zip(network.strides, scores, codes, strict=True):
        assert score.shape == (1, 3, 64 // stride, 64 // stride)
        assert code.shape == (1, 12, 64 // stride, 64 // stride)


@pytest.mark.parametrize("num_slices", [1, 3, 8, 9])
@pytest.mark.parametrize("name", ["unet", "p3d18ba"])
def test_any_number_of_slices(name, num_slices):
    network = built(name, num_slices, "gtm")
    with torch.no_grad():
        assert len(network(stacks(num_slices))) == 2 * len(network.strides)


def test_scripted_equals_eager():
    network = built("unet", depth_pooling="gtm").eval()
    scripted = torch.jit.script(network)
    with torch.no_grad():
        torch.testing.assert_close(scripted(stacks()), network(stacks()))


def test_the_group_transform_starts_as_the_centre():
    networks = [built("mp3d18ba", depth_pooling=depth_pooling).eval() for depth_pooling in ("center", "gtm")]
    with torch.no_grad():
        maps = [network(stacks()) for network in networks]
    for one, other in zip(*maps, strict=True):
        torch.testing.assert_close(one, other)


def test_distant_slices_influence_the_output():
    """The encoder has a receptive field over all slices, although only its central maps are used."""
    network, image = built("unet").eval(), stacks()
    other = image.clone()
    other[:, :, 0] += 1
    with torch.no_grad():
        assert not torch.equal(network(image)[0], network(other)[0])


def test_depth_is_kept_with_the_same_weights():
    flat, deep = build_encoder("unet", depth_stride=False), build_encoder("unet")
    assert {k: v.shape for k, v in flat.state_dict().items()} == {k: v.shape for k, v in deep.state_dict().items()}
    with torch.no_grad():
        maps = flat.features(stacks(5))
    assert [m.shape[2] for m in maps] == [5] * 5
    assert [m.shape[3] for m in maps] == [64, 32, 16, 8, 4]
    with pytest.raises(InputError, match=r"num_slices: expected .* 16 x 16 x 16"):
        DetectionNetwork(deep, 5)
    round_up = build_encoder("unet", round_up=True)
    round_up.load_state_dict(deep.state_dict())
    with torch.no_grad():
        for depth in (1, 2, 5, 9, 16):
            sizes = [tuple(m.shape[2:]) for m in round_up.features(stacks(depth))]
            assert sizes == round_up.map_sizes((depth, 64, 64))
        for one, other in zip(round_up.features(stacks(16)), deep.features(stacks(16)), strict=True):
            assert torch.equal(one, other)
    with pytest.raises(InputError, match="depth_stride"):
        build_encoder("unet", 2, depth_stride=False)


def test_a_flat_unet_fits_monai():
    flat = build_anisotropic_encoder("unet", "group")
    stock = BasicUNet(3, 1, 2, features=(16, 32, 64, 128, 256, 16), norm=("group", {"num_groups": 8}))
    assert set(flat.state_dict()) <= set(stock.state_dict())


def test_network_works_with_monais_detector():
    """MONAI's detector finds the same boxes in the outputs of the network."""
    network = built("unet").eval()
    anchors = AnchorGenerator([(4 * stride,) for stride in network.strides], (RATIOS,) * len(network.strides))
    stock = RetinaNetDetector(network, anchors).eval()
    stock.set_box_selector_parameters(0.0, 50, 0.5, 20)
    with torch.no_grad():
        maps = network(stacks(batch=2))
        # MONAI's detector only accepts 2D images; its postprocessing is the same
        stock.network = type("Given", (torch.nn.Module,), {"forward": lambda self, images: [m.clone() for m in maps]})()
        theirs = stock(torch.zeros(2, 1, 64, 64))
        ours = Detector(network.strides, topk_candidates_per_level=50, detections_per_img=20, nms_thresh=0.5).detect(
            maps
        )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one["scores"], other["labels_scores"])
        torch.testing.assert_close(one["boxes"], other["boxes"][:, [1, 0, 3, 2]])


@pytest.mark.parametrize("channels", [0, 8, 20, "many"])
def test_invalid_channels_are_refused(channels):
    with pytest.raises(InputError, match="fpn_channels"):
        built(channels=channels)
