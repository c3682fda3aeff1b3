"""Runs of a release that is downloaded from a local server, without the repository.

One process for one bundle and a second one next to it; all bundles with ``RELEASES=all`` in the environment (minutes).
"""

import functools
import json
import os
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import BUNDLES, ROOT, SUPERVISED, read, tiny, write_data, write_scans
from test_metadata import SCHEMA

from tools.release.network import EXEMPT
from tools.release.pack import pack_bundle

RELEASED = BUNDLES if os.environ.get("RELEASES") == "all" else ["rotation2d"]

#: what a user does in an empty folder; prints what was done
PROOF = """
import importlib.util, json, sys, warnings
from pathlib import Path

import monai.bundle as bundles
import torch

warnings.simplefilter("ignore")
torch.set_num_threads(1)
sys.path[0] = str(Path.cwd())  # as `python -m` has it
addresses, schema, training, inference, exempt = json.loads(sys.argv[1])
for one, address in addresses.items():
    bundles.download(name=one, url=address, bundle_dir="bundles", progress=False)
name, other = addresses
home = Path("bundles", name)
configs = {one: str(home / f"configs/{one}.json") for one in ("train", "evaluate", "inference", "metadata")}


def load(one):
    return bundles.load(one, bundle_dir="bundles", source="local", workflow_type="inference")


def network_of(one):
    parser = bundles.ConfigParser(json.loads(Path("bundles", one, "configs/inference.json").read_text()))
    return parser.get_parsed_content("network_def")


def run(kind, *files, **settings):
    paths = [configs[file] for file in files]
    bundles.run(config_file=paths, meta_file=configs["metadata"], workflow_type=kind, **settings)


run("train", "train", **training)
beside = network_of(other)
kept = {key: value.clone() for key, value in beside.state_dict().items()}
run("train", "train", "evaluate", **training)
run("inference", "inference", **inference)
import tools
weights = torch.load(home / "models/model.pt", weights_only=True)
assert all(torch.equal(value, weights[key]) for key, value in load(name).state_dict().items())
assert all(torch.equal(value, kept[key]) for key, value in beside.state_dict().items())
again = {key: value.shape for key, value in network_of(other).state_dict().items()}
assert again == {key: value.shape for key, value in kept.items()}

network = {"net_id": "network_def", "meta_file": configs["metadata"], "config_file": configs["inference"]}
if schema:
    bundles.verify_metadata(meta_file=configs["metadata"], filepath=schema)
if not exempt:
    bundles.verify_net_in_out(**network, n=1)
models = {"ckpt_file": str(home / "models/model.pt")}
bundles.ckpt_export(**network, **models, filepath=str(home / "models/model.ts"))
torch.jit.load(home / "models/model.ts")
missing = [package for package in ("onnx", "onnxscript") if importlib.util.find_spec(package) is None]
if not missing and not exempt:
    form = json.loads(Path(configs["metadata"]).read_text())["network_data_format"]["inputs"]["image"]
    shape = [1, form["num_channels"], *[eval(str(edge), {"n": 2}) for edge in form["spatial_shape"]]]
    bundles.onnx_export(**network, **models, filepath=str(home / "models/model.onnx"), input_shape=shape)
print(json.dumps({"tools": tools.__file__, "missing for onnx_export": missing}))
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Addresses of zip files on a local server, by bundle."""
    folder = tmp_path_factory.mktemp("dist")
    bundles = {*RELEASED, *map(other_than, RELEASED)}
    names = {bundle: pack_bundle(ROOT / "bundles" / bundle, folder).name for bundle in bundles}
    handler = functools.partial(SilentHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {bundle: f"http://127.0.0.1:{server.server_port}/{name}" for bundle, name in names.items()}
        server.shutdown()


class SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def other_than(bundle):
    """Return a bundle with another kind of data."""
    return "rotation3d" if bundle != "rotation3d" else "fundus"


def settings_of(bundle, folder):
    """Tiny data, tiny training settings, and the common settings of training and inference."""
    data = write_data(bundle, folder / "data")
    training = {**tiny(bundle), "epochs": 1, "steps_per_epoch": 1, "dataset_dir": str(data)}
    images = write_scans(folder / "scans") if bundle in SUPERVISED else data
    predictions = read(bundle, "inference")
    inference = {key: value for key, value in training.items() if key in predictions} | {"dataset_dir": str(images)}
    return training, inference | ({"stride": "$[16] * len(@patch_size)"} if "stride" in predictions else {})


@pytest.fixture(scope="module", params=RELEASED)
def used(request, shelf, tmp_path_factory):
    """Folder of a downloaded and used release, name of the bundle, and output of the process."""
    bundle = request.param
    folder = tmp_path_factory.mktemp("empty") / bundle  # a folder of the bundle's name is not yet the bundle
    folder.mkdir()
    training, inference = settings_of(bundle, tmp_path_factory.mktemp(bundle))
    schema = str(SCHEMA) if SCHEMA.exists() else ""
    addresses = {one: shelf[one] for one in (bundle, other_than(bundle))}
    words = json.dumps([addresses, schema, training, inference, bundle in EXEMPT])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "", "no_proxy": "127.0.0.1"}
    command = [sys.executable, "-W", "ignore", "-c", PROOF, words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, bundle, json.loads(done.stdout.splitlines()[-1])


def test_downloaded_release_works_as_the_bundle(used):
    folder, bundle, found = used
    home = folder / "bundles" / bundle
    assert (folder / found["tools"]).parent.samefile(home / "tools")
    models = [f"models/{name}" for name in ("model.pt", "model.json", "model.ts")]
    for name in (*models, "output/metrics.csv", "output/evaluation.json"):
        assert (home / name).stat().st_size > 0
    assert [path.name for path in folder.iterdir()] == ["bundles"], "nothing is written elsewhere"


def test_it_exports_to_onnx(used):
    folder, bundle, found = used
    if bundle in EXEMPT:
        pytest.skip("a detector's network returns lists of maps, which onnx_export does not support")
    if found["missing for onnx_export"]:
        pytest.skip(f"onnx_export needs {' and '.join(found['missing for onnx_export'])}")
    assert (folder / "bundles" / bundle / "models/model.onnx").stat().st_size > 0
