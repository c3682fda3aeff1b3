"""A server of MONAI Label with the downstream bundles, in a separate process. Takes a minute or two."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from tools.data.formats.nifti import GEOMETRY
from tools.phantoms.fundus import fundus_phantoms
from tools.phantoms.nodules import nodule_phantoms
from tools.phantoms.pancreas import pancreas_phantoms
from tools.transfer.export import export_weights
from tools.utils.errors import InputError

pytest.importorskip("monailabel", reason="MONAI Label is not installed: tools/label/requirements.txt says how")
requests = pytest.importorskip("requests")  # comes with it

ROOT = Path(__file__).parents[2]
SERVED = ("pancreas", "deeplesion", "fundus", "lidc")
START, TRAINING = 300, 600  # seconds that a server and one epoch may take
TINY = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "spacing": 8.0, "roi_size": [16, 16, 16]}


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def write_bundle(folder, name):
    """A copy of a bundle, small where it trains, with random weights."""
    shutil.copytree(ROOT / "bundles" / name / "configs", folder / name / "configs")
    inference = folder / name / "configs/inference.json"
    if name == "pancreas":
        change(folder / name / "configs/train.json", **TINY)
        change(inference, spacing=TINY["spacing"], roi_size=TINY["roi_size"])
    if name == "deeplesion":
        change(inference, detections_per_img=3)  # random weights find something everywhere
    parser = ConfigParser(json.loads(inference.read_text()))
    parser["bundle_root"] = str(folder / name)
    torch.manual_seed(0)
    (folder / name / "models").mkdir()
    card = {"encoder": {"name": "unet"}, "selected": {"epoch": 0, "threshold": 0.0}}
    export_weights(parser.get_parsed_content("network_def"), folder / name / "models/model.pt", card)


class Server:
    """A server in a process of its own, on a free port of this machine."""

    def __init__(self, bundles, studies, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = log
        start = ["-m", "monailabel.main", "start_server", "--app", "tools/label/app", "--studies", str(studies)]
        where = ["--host", "127.0.0.1", "--port", str(self.port)]
        conf = ["--conf", "models", ",".join(SERVED), "--conf", "bundles", str(bundles)]
        with log.open("w") as stream:
            command = [sys.executable, *start, *where, *conf]
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)

    def wait_for(self, prediction, seconds):
        """The first result that is not None."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                found = prediction()
            except requests.ConnectionError:
                found = None
            if found is not None:
                return found
            time.sleep(0.5)
        pytest.fail(f"no answer in {seconds} s:\n" + self.log.read_text()[-2000:])

    def get(self, path):
        return requests.get(self.url + path, timeout=60).json()

    def infer(self, model, image, output):
        fields = {"params": json.dumps({"device": "cpu"})}
        place = f"/infer/{model}?image={image}&output={output}"
        prediction = requests.post(self.url + place, data=fields, timeout=120)
        assert prediction.status_code == 200, self.log.read_text()[-2000:]
        return prediction

    def scores(self, model, image):
        return {one["label"]: one["score"] for one in self.infer(model, image, "json").json()["prediction"]}

    def stop(self):
        """Ask the process, and no other, to end."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bundles, data by bundle, and all of it as one folder of studies."""
    made = tmp_path_factory.mktemp("label")
    for name in SERVED:
        write_bundle(made / "bundles", name)
    pancreas_phantoms(str(made / "pancreas"), num_cases=4, size=(40, 32, 28), spacing=8.0)
    change(made / "bundles/pancreas/configs/train.json", dataset_dir=str(made / "pancreas"))
    fundus_phantoms(str(made / "fundus"), num_patients=1)
    nodule_phantoms(str(made / "lidc"), num_patients=1, size=40)
    (made / "studies").mkdir()
    for pattern in ("pancreas/imagesTr/*", "fundus/*.jpeg", "lidc/nodule/*.npz"):
        for file in made.glob(pattern):
            shutil.copy(file, made / "studies")
    return made


@pytest.fixture(scope="module")
def server(folder):
    started = Server(folder / "bundles", folder / "studies", folder / "server.log")
    try:
        started.wait_for(lambda: started.get("/info/"), START)
        yield started
    finally:
        started.stop()


def own_answer(folder, bundle, source):
    """What the bundle's own inference writes."""
    root = folder / "bundles" / bundle
    output = folder / "own" / bundle
    files = {"config_file": str(root / "configs/inference.json"), "meta_file": str(root / "configs/metadata.json")}
    overrides = {"bundle_root": str(root), "dataset_dir": str(source), "output_dir": str(output), "device": "cpu"}
    path = list(sys.path)
    made = ConfigWorkflow(**files, logging_file=False, workflow_type="inference", **overrides)
    try:
        made.initialize()
        made.run()
    finally:
        sys.path[:] = path
    return output


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_server_lists_its_models(server):
    info = server.get("/info/")
    assert {name: model["type"] for name, model in info["models"].items()} == {
        "pancreas": "segmentation",
        "deeplesion": "detection",
        "fundus": "classification",
        "lidc": "classification",
    }
    assert info["models"]["pancreas"]["labels"] == {"pancreas": 1, "cancer": 2}
    assert list(info["trainers"]) == ["pancreas"]
    assert "model_filename" not in info["models"]["pancreas"]["config"] | info["trainers"]["pancreas"]["config"]


def test_a_mask_lies_on_the_scans_grid_and_is_the_bundles_own(server, folder, tmp_path):
    prediction = tmp_path / "answer.nii.gz"
    prediction.write_bytes(server.infer("pancreas", "pancreas_001", "image").content)
    mask, scan = nibabel.load(prediction), nibabel.load(folder / "studies/pancreas_001.nii.gz")
    assert mask.shape == scan.shape
    assert all(np.array_equal(mask.header[field], scan.header[field]) for field in GEOMETRY)
    own = nibabel.load(own_answer(folder, "pancreas", folder / "pancreas/imagesTr") / "pancreas_001.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), np.asarray(own.dataobj))
    assert len(np.unique(mask.dataobj)) > 1  # otherwise the comparison is trivial


def test_lesions_are_boxes_with_their_name(server, folder):
    found = server.infer("deeplesion", "pancreas_002", "json").json()
    assert found["label_names"] == {"lesion": 0}
    assert set(found["label"]) == {0}
    boxes = np.array(found["box"])
    scan = nibabel.load(folder / "studies/pancreas_002.nii.gz")
    places = nibabel.affines.apply_affine(np.linalg.inv(scan.affine), boxes[:, :3] * (-1, -1, 1))  # LPS
    assert (places > -1.01).all()  # boxes end at the edge of the image, not at the centre of a voxel
    assert (places < np.array(scan.shape) + 0.01).all()


def test_a_photograph_is_graded_as_by_the_bundle(server, folder):
    rows = table(own_answer(folder, "fundus", folder / "fundus") / "grades.csv")
    for row in rows:
        scores = server.scores("fundus", row["case"])
        assert list(scores) == [f"grade {grade}" for grade in range(5)]
        assert [*scores.values()] == pytest.approx([float(row[f"probability_{grade}"]) for grade in range(5)], abs=1e-3)


def test_a_nodule_is_answered_as_by_the_bundle_also_as_nifti(server, folder):
    row = table(own_answer(folder, "lidc", folder / "lidc") / "predictions.csv")[0]
    case = row["case"].rpartition("/")[2]
    crop = np.load(folder / f"studies/{case}.npz")["voxel"].astype(np.float32)
    volume = nibabel.Nifti1Image(crop / 255 * 1400 - 1000, np.diag([-1.0, 1, 1, 1]))
    nibabel.save(volume, folder / "studies/crop.nii.gz")
    server.wait_for(lambda: server.get("/datastore/?output=all")["objects"].get("crop"), 30)
    for study in (case, "crop"):
        scores = server.scores("lidc", study)
        assert scores["malignant"] == pytest.approx(float(row["probability_malignant"]), abs=1e-3)
        assert sum(scores.values()) == pytest.approx(1)


def test_submitted_labels_train_the_network(server, folder):
    weights = folder / "bundles/pancreas/models/model.pt"
    before = weights.read_bytes()
    for case in ("pancreas_001", "pancreas_002"):
        label = (folder / f"pancreas/labelsTr/{case}.nii.gz").read_bytes()
        place = f"{server.url}/datastore/label?image={case}&tag=final"
        assert requests.put(place, files={"label": (f"{case}.nii.gz", label)}, timeout=60).status_code == 200
        assert (folder / f"studies/labels/final/{case}.nii.gz").read_bytes() == label
    settings = {"device": "cpu", "max_epochs": 1, "val_split": 0.5, "multi_gpu": False}
    assert requests.post(f"{server.url}/train/pancreas", json=settings, timeout=60).status_code == 200

    def ended():
        task = server.get("/train/")
        return None if task["status"] in ("SUBMITTED", "RUNNING") else task

    task = server.wait_for(ended, TRAINING)
    assert task["status"] == "DONE", "\n".join(task["details"])
    assert weights.read_bytes() != before
    cases = {Path(case["case"]).name for case in json.loads(weights.with_suffix(".json").read_text())["cases"]}
    assert cases == {"pancreas_001.nii.gz", "pancreas_002.nii.gz"}
    server.infer("pancreas", "pancreas_001", "image")  # with the new weights


def test_labels_are_those_of_the_models_card(folder, tmp_path):
    """Served, written, and trained on again."""
    from tools.label.tasks import StrictTrainTask, infer_task

    shutil.copytree(folder / "bundles/pancreas", tmp_path / "pancreas")
    stored = {"cancer": 300, "pancreas": 7}
    change(tmp_path / "pancreas/models/model.json", labels=stored)
    task = infer_task(tmp_path / "pancreas", {})
    assert list(task.labels.items()) == list(stored.items())
    assert task.post_transforms({"device": "cpu"})[1].values == (300, 7)
    assert StrictTrainTask(str(tmp_path / "pancreas"), {})._update_overrides({})["labels"] == stored


def test_foreign_weights_are_refused(folder):
    from tools.label.tasks import check_model

    folder = folder / "bundles/lidc"
    check_model(folder)
    right = (folder / "models/model.json").read_text()
    try:
        change(folder / "models/model.json", sha256="0" * 64)
        with pytest.raises(InputError, match="SHA-256"):
            check_model(folder)
    finally:
        (folder / "models/model.json").write_text(right)


def test_an_untrained_bundle_ends_the_start_with_one_line(folder, tmp_path):
    shutil.copytree(folder / "bundles", tmp_path / "bundles")
    (tmp_path / "bundles/fundus/models/model.pt").unlink()
    (tmp_path / "studies").mkdir()
    failed = Server(tmp_path / "bundles", tmp_path / "studies", tmp_path / "server.log")
    assert failed.process.wait(START) != 0
    message = failed.log.read_text()
    assert "fundus: " in message
    assert "expected a trained network, found no file; train it with: python -m monai.bundle run" in message
    assert "Traceback" not in message


def test_the_server_stops(server):
    assert server.stop() == 0
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0
