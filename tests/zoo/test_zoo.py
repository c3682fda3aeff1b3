"""The Model Zoo's own checks on every release. Takes about four minutes.

Needs a source tree of the Model Zoo and the schema of MONAI's metadata, see tools/release/README.md.
"""

import io
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch
from harness import BUNDLES, DETECTION, ROOT
from monai.bundle import ConfigParser

from tools.release.pack import archive_bytes

SOURCE, SCHEMA = os.environ.get("ZOO_SOURCE"), os.environ.get("ZOO_SCHEMA")
pytestmark = [
    pytest.mark.external,
    pytest.mark.skipif(
        not (SOURCE and SCHEMA), reason="ZOO_SOURCE and ZOO_SCHEMA are not set, see tools/release/README.md"
    ),
]
#: the one gate that bundles without weights do not pass
NO_WEIGHTS = "necessary file models/model.pt is not existing"


def unpack(bundle, folder):
    """The release of a bundle as a folder of the Zoo."""
    with zipfile.ZipFile(io.BytesIO(archive_bytes(ROOT / "bundles" / bundle))) as archive:
        archive.extractall(folder)
    (folder / bundle / "eval").mkdir()
    shutil.copy(SCHEMA, folder / bundle / "eval/schema.json")
    (folder / "model_info.json").write_text("{}")
    return folder / bundle


#: the Zoo excludes networks that return lists, such as its own detector, from the check of shapes
VERIFY = """
import sys
sys.path.insert(0, "ci")
import bundle_custom_data, verify_bundle
name, folder, detects = sys.argv[1:]
bundle_custom_data.exclude_verify_shape_list += [name] * (detects == "True")
verify_bundle.verify(name, folder, "full")
"""


def verify(folder, bundle):
    """Exit code and messages of the Zoo's script."""
    command = [sys.executable, "-c", VERIFY, bundle, str(folder), str(bundle in DETECTION)]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def write_random_weights(bundle):
    parser = ConfigParser()
    parser.read_config(bundle / "configs/inference.json")
    parser["bundle_root"] = str(bundle)
    (bundle / "models").mkdir()
    torch.save(parser.get_parsed_content("network_def").state_dict(), bundle / "models/model.pt")


@pytest.mark.parametrize("bundle", BUNDLES)
def test_it_passes_every_gate_but_that_of_missing_weights(bundle, tmp_path):
    unpacked = unpack(bundle, tmp_path)
    code, printed = verify(tmp_path, bundle)
    if not (unpacked / "models/model.pt").exists():
        assert code != 0
        assert NO_WEIGHTS in printed
        write_random_weights(unpacked)
        code, printed = verify(tmp_path, bundle)
    assert code == 0, printed
    assert bundle in DETECTION or "data shape is verified correctly" in printed
    assert "export weights into TorchScript module successfully" in printed
