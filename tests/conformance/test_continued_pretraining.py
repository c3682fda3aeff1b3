"""Every pretext bundle continues the pretraining of weights of another project, and the card keeps their origin."""

import pytest
import torch
from harness import PRETEXT, SUPERVISED, Run, data_kind, dims, workflow
from ignite.engine import Events
from monai.networks.nets import resnet18

from tools.networks.encoders import build_encoder


class Started(Exception):
    """All handlers of the start have run."""


def stop(engine):
    raise Started


@pytest.mark.parametrize("bundle", [*PRETEXT, *SUPERVISED])
def test_weights_of_another_project_are_the_start_and_stay_in_the_card(bundle, data, tmp_path):
    channels = 3 if bundle in PRETEXT and dims(bundle) == 2 else 1
    space = 2 if channels == 3 else 3
    torch.manual_seed(7)
    options = {"shortcut_type": "B", "bias_downsample": False, "num_classes": 2}
    network = resnet18(spatial_dims=space, n_input_channels=channels, **options)
    weights = {f"model.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "pytorch-lightning_version": "2.4.0"}, tmp_path / "published.ckpt")
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Made up\n")

    settings = Run(bundle, tmp_path, data[data_kind(bundle)]).settings
    settings |= {"encoder": "resnet18", "norm": "batch", "pretrained": str(tmp_path / "published.ckpt")}
    parser = workflow(bundle, ["train"], **settings).parser
    trainer = parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.STARTED, stop)
    with pytest.raises(Started):
        trainer.run()

    found = parser.get_parsed_content("network_def").state_dict()
    assert found.keys() == build_encoder("resnet18", space, channels, "batch").state_dict().keys()
    assert all(torch.equal(value.cpu(), weights[f"model.{key}"]) for key, value in found.items())
    handlers = parser.get_parsed_content("train#handlers")
    (card,) = [one._card() for one in handlers if hasattr(one, "origin")]
    expected = {"file": "published.ckpt", "license": "cc-by-nc-4.0"}
    assert expected.items() <= card["origin"].items()
