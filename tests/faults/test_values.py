"""NaN and infinity in data, loss, gradients and weights stop a run before anything of them is written."""

import nibabel
import numpy as np
import pytest
import torch
from harness import Run, write_scans
from monai.engines import SupervisedTrainer

from tools.utils.errors import find_input_error

PLACES = ["data", "loss", "gradient", "weights"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", PLACES)
def test_undefined_numbers_stop_the_run(tmp_path, monkeypatch, fault, place, value):
    scans = write_scans(tmp_path / "scans")
    run = Run("rotation3d", tmp_path, scans)
    if place == "data":
        voxels = np.random.default_rng(0).random((52, 52, 52)).astype(np.float32)
        voxels[3, 4, 5] = value
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), scans / "scan_9.nii.gz")
    else:
        step = SupervisedTrainer._iteration

        def spoiled(trainer, engine, batch):
            output = step(trainer, engine, batch)
            parameter = next(p for p in engine.network.parameters() if p.grad is not None)
            if place == "loss":
                output["loss"] = output["loss"] * value
            elif place == "gradient":
                parameter.grad.fill_(value)
                engine.optimizer.step()
            else:
                with torch.no_grad():
                    parameter.view(-1)[0] = value
            return output

        monkeypatch.setattr(SupervisedTrainer, "_iteration", spoiled)
    with fault():
        with pytest.raises(Exception) as raised:  # noqa: PT011 - MONAI wraps it in a RuntimeError
            run.go()
        assert find_input_error(raised.value) is not None, raised.value
        assert not list(run.models.glob("*.pt"))
