"""Checks before a release: each problem separately and all together, one line per problem."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tools.bundles.generate import is_generated
from tools.release.__main__ import main, release
from tools.release.card import model_card
from tools.release.checks import check_bundle
from tools.release.contents import release_files
from tools.release.metadata import metadata_problems
from tools.release.network import script_problems, shape_problems
from tools.release.packages import imported_modules
from tools.release.weights import excluded_weights_note
from tools.utils.errors import InputError

BUNDLES = Path(__file__).parents[2] / "bundles"
FILES = shutil.ignore_patterns("models", "output", "phantoms", "eval", "*.png")


@pytest.fixture
def bundle(tmp_path):
    """A copy of a bundle in a temporary folder."""
    return Path(shutil.copytree(BUNDLES / "rotation2d", tmp_path / "rotation2d", ignore=FILES))


def change(bundle, name="metadata", **entries):
    """Set keys of a configuration; None takes a key away."""
    path = bundle / f"configs/{name}.json"
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def packages(bundle):
    return json.loads((bundle / "configs/metadata.json").read_text())["required_packages_version"]


def write(bundle, name, content):
    path = bundle / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def without_scipy(bundle):
    change(bundle, required_packages_version={k: v for k, v in packages(bundle).items() if k != "scipy"})


def large_file(bundle, **entry):
    write(bundle, "large_files.json", json.dumps({"large_files": [entry]}).encode())


SENTINEL = "f" * 64
ENTRY = {"path": "models/model.pt", "url": "https://example.org/model.pt", "hash_val": SENTINEL, "hash_type": "sha256"}
FAULTS = {
    "licence": (lambda b: (b / "LICENSE").unlink(), "LICENSE: expected this file, found none"),
    "empty": (lambda b: write(b, "docs/data_license.txt", b""), "docs/data_license.txt: expected a file with content"),
    "stray file": (lambda b: write(b, "notes.txt", b"x"), "notes.txt: expected a file in configs or docs"),
    "large": (
        lambda b: write(b, "docs/film.gif", bytes(26 * 1024**2)),
        "docs/film.gif: expected at most 25 MB, found 26.0",
    ),
    "not told": (lambda b: change(b, version="0.2.0"), "changelog: expected an entry for version 0.2.0, found 0.1.0"),
    "not raised": (
        lambda b: change(b, changelog={"0.1.0": "first", "0.2.0": "second"}),
        "version: expected the changelog's newest, 0.2.0, found 0.1.0",
    ),
    "part of 10": (lambda b: change(b, version="0.10.0"), "configs/metadata.json: version: '0.10.0' does not match"),
    "undeclared": (without_scipy, "required_packages_version: expected scipy, which tools/"),
    "undeclared in a config": (
        lambda b: change(b, "paper", imports=["$import pytest"]),
        "required_packages_version: expected pytest, which configs/paper.json needs, found none",
    ),
    "declared, idle": (
        lambda b: change(b, required_packages_version={**packages(b), "itk": "5.4.0"}),
        "found itk, which is not imported",
    ),
    "absolute path": (
        lambda b: change(b, "paper", dataset_dir="/data/scans"),
        "configs/paper.json: dataset_dir: expected a relative path, found /data/scans",
    ),
    "absolute path, Windows": (
        lambda b: change(b, "paper", dataset_dir=r"D:\scans"),
        r"expected a relative path, found D:\scans",
    ),
    "absolute path in an expression": (
        lambda b: change(b, "train", models_dir="$os.path.join('/home/me', 'models')"),
        "configs/train.json: models_dir: expected a relative path, found /home/me",
    ),
    "property": (lambda b: change(b, "train", device=None), "configs/train.json: expected the key device, found none"),
    "no JSON": (lambda b: write(b, "configs/paper.json", b"{"), "configs/paper.json: expected JSON with keys"),
    "no metadata": (
        lambda b: write(b, "configs/metadata.json", b"[]"),
        "configs/metadata.json: expected JSON with keys",
    ),
    "no intended use": (lambda b: change(b, intended_use=None), "configs/metadata.json: expected intended_use"),
    "invented figure": (
        lambda b: change(b, eval_metrics={"data": "heads", "accuracy": 0.987}),
        "eval_metrics.accuracy: expected a value of the results in docs/README.md, found 0.987",
    ),
    "link": (
        lambda b: (b / "docs/more.txt").symlink_to("/etc/hosts"),
        "docs/more.txt: expected a file, found a link to /etc",
    ),
    "linked folder": (lambda b: (b / "docs/more").symlink_to(b.parent), "docs/more: expected a file, found a link to"),
    "large file outside": (
        lambda b: large_file(b, **{**ENTRY, "path": "../x.pt"}),
        "expected a file inside the bundle, found ../x.pt",
    ),
    "large file, old hash": (
        lambda b: large_file(b, **{**ENTRY, "hash_type": "md5"}),
        "expected a sha256 of 64 digits, found md5",
    ),
    "large files, unreadable": (
        lambda b: write(b, "large_files.json", b"{"),
        "large_files.json: expected entries under large_files, found none",
    ),
    "large file without address": (lambda b: large_file(b, **{**ENTRY, "url": ""}), "found no url"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_problem_is_reported_in_one_line(bundle, fault):
    spoil, message = FAULTS[fault]
    spoil(bundle)
    problems = check_bundle(bundle)
    assert [problem for problem in problems if message in problem], problems
    assert all(problem.startswith("rotation2d: ") and "\n" not in problem for problem in problems)


def test_all_problems_are_reported_and_nothing_is_written(bundle, tmp_path, capsys):
    names = ("licence", "not told", "undeclared", "absolute path", "large")
    for name in names:
        FAULTS[name][0](bundle)
    with pytest.raises(SystemExit) as left:
        main(str(bundle), out=str(tmp_path / "dist"))
    lines = str(left.value.code).splitlines()
    assert len(lines) == len(names)
    for name in names:
        assert any(FAULTS[name][1] in line for line in lines)
    assert not (tmp_path / "dist").exists()


def test_a_network_that_is_not_as_declared_is_refused(bundle):
    content = json.loads((bundle / "configs/metadata.json").read_text())
    content["network_data_format"]["outputs"]["pred"]["num_channels"] = 7
    change(bundle, network_data_format=content["network_data_format"])
    assert shape_problems(bundle)[0].startswith("rotation2d: network_def: expected the format in metadata.json, found")
    change(bundle, "inference", network_def={"_target_": "monai.transforms.Flip"})
    assert script_problems(bundle)[0].startswith("rotation2d: network_def: expected a network that can be scripted")


@pytest.mark.parametrize("side", ["inputs", "outputs", "post_processed_outputs"])
@pytest.mark.parametrize("wrong", [None, [], "x", {"pred": None}])
def test_data_formats_are_dictionaries_of_tensors(bundle, side, wrong):
    content = json.loads((bundle / "configs/metadata.json").read_text())["network_data_format"]
    change(bundle, network_data_format=content | {side: wrong})
    assert any(f"network_data_format.{side}" in problem for problem in metadata_problems(bundle))


def test_a_network_that_is_traced_is_no_problem(bundle):
    change(
        bundle,
        "inference",
        network_def={"_target_": "own_encoders.SwinLikeEncoder", "spatial_dims": 2, "in_channels": 1},
    )
    assert script_problems(bundle) == []


@pytest.mark.parametrize(("encoder", "package"), [("resenc", "dynamic"), ("swin", "einops"), ("unet", "")])
def test_packages_of_an_encoder_are_declared_where_it_is_used(bundle, encoder, package):
    write(bundle, "models/model.json", json.dumps({"encoder": {"name": encoder}}).encode())
    problems = [problem for problem in check_bundle(bundle) if "required_packages_version" in problem]
    assert len(problems) == bool(package)
    assert not problems or f"expected {package}" in problems[0]


def test_a_name_monai_would_cut_is_refused(bundle):
    renamed = bundle.rename(bundle.parent / "lits_vdt")
    assert "lits_vdt: name: expected letters, digits and underscores, without '_v'" in check_bundle(renamed)


def test_weights_are_excluded_until_metadata_describes_them(bundle):
    write(bundle, "models/model.pt", b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    write(bundle, "models/model.json", json.dumps({"sha256": digest}).encode())
    assert check_bundle(bundle) == []
    assert not [name for name in release_files(bundle) if name.startswith("models/")]
    assert "| no weights |" in model_card(bundle)
    assert "models/model.pt is excluded" in excluded_weights_note(bundle)

    change(bundle, weights={"data": "260 MR crops, Decathlon Task04", "license": "CC BY-SA 4.0", "sha256": digest})
    assert check_bundle(bundle) == []
    assert {"models/model.pt", "models/model.json"} <= release_files(bundle).keys()
    assert "weights trained on 260 MR crops, Decathlon Task04, licence CC BY-SA 4.0" in model_card(bundle)

    write(bundle, "models/model.pt", b"weights of a later run")
    assert "models/model.pt: expected sha256" in check_bundle(bundle)[0]


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"data": "MR heads", "license": "CC0"}, "weights: expected data, license, sha256, found no sha256"),
        ({"data": "Phantoms of heads", "license": "CC0", "sha256": SENTINEL}, "expected data of patients"),
        ({"data": "MR heads", "license": "CC0", "sha256": SENTINEL}, "models/model.json: expected the card"),
    ],
)
def test_weights_without_a_true_statement_are_refused(bundle, stated, message):
    change(bundle, weights=stated)
    assert any(message in problem for problem in check_bundle(bundle))


@pytest.mark.parametrize(
    ("origin", "license", "problem"),
    [
        ({"license": "cc-by-sa-4.0"}, "CC BY-SA 4.0, as the weights of Example", None),
        (
            {"license": "cc-by-nc-4.0"},
            "CC0",
            "weights.license: expected .* hf://o/n/w.pth, licence cc-by-nc-4.0",
        ),
        ({"license": "mit"}, "CC0, without limits", "weights.license: expected"),
        ({}, "CC0", "origin: expected the licence of w.pth"),
    ],
)
def test_the_licence_of_the_weights_that_training_started_from_stays(bundle, origin, license, problem):
    write(bundle, "models/model.pt", b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    card = {"sha256": digest, "origin": {"file": "w.pth", "address": "hf://o/n/w.pth", **origin}}
    write(bundle, "models/model.json", json.dumps(card).encode())
    change(bundle, weights={"data": "MR heads", "license": license, "sha256": digest})
    found = check_bundle(bundle)
    if problem is None:
        assert found == []
        assert "license: cc-by-sa-4.0\n" in model_card(bundle)
    else:
        assert re.search(problem, found[0])


def test_weights_too_large_to_pack_are_downloaded(bundle):
    write(bundle, "models/model.pt", bytes(26 * 1024**2))
    digest = hashlib.sha256(bytes(26 * 1024**2)).hexdigest()
    write(bundle, "models/model.json", json.dumps({"sha256": digest}).encode())
    change(bundle, weights={"data": "MR heads", "license": "CC0", "sha256": digest})
    assert any("models/model.pt: expected at most 25 MB" in problem for problem in check_bundle(bundle))
    large_file(bundle, **{**ENTRY, "hash_val": digest})
    assert check_bundle(bundle) == []
    assert "models/model.pt" not in release_files(bundle)


def test_the_code_a_release_ships_needs_nothing_it_leaves_out(bundle):
    files = release_files(bundle)
    assert "tools/transfer/export.py" in files
    assert not [name for name in files if name.startswith(("tools/release", "tools/benchmarks"))]
    for name, path in files.items():
        if name.endswith(".py"):
            text = path.read_text()
            assert "tools.release" not in text, name
            assert "from tools.benchmarks" not in text, name
    assert imported_modules(bundle).keys() >= {"monai", "torch", "ignite", "PIL", "nrrd"}


def test_what_is_no_bundle_is_refused(tmp_path):
    assert check_bundle(tmp_path / "no") == [f"{tmp_path}/no: expected the folder of a bundle, found none"]
    assert check_bundle(tmp_path) == [f"{tmp_path}: expected the folder of a bundle, found no configs in it"]


def test_neither_or_both_is_no_command(bundle, tmp_path):
    for arguments in ({}, {"bundle": str(bundle), "all": True}):
        with pytest.raises(InputError, match="expected --bundle FOLDER or --all"):
            main(**arguments, out=str(tmp_path))


def test_arguments_are_refused_before_the_work(bundle, tmp_path):
    with pytest.raises(InputError, match=r"--output.*--out\b"):
        main(str(bundle), output=str(tmp_path / "dist"))
    (tmp_path / "file").write_text("not a folder")
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InputError, match=f"^--out: expected a writable folder, found {tmp_path}/file$"):
            main(str(bundle), out=str(out))


def test_expressions_are_not_evaluated_before_the_checks(tmp_path, monkeypatch):
    """A bundle with other configurations than generated ones is refused unless it is trusted."""
    bundle = tmp_path / "cpc3d"
    shutil.copytree(BUNDLES / "cpc3d", bundle, ignore=shutil.ignore_patterns("models", "output", "phantoms"))
    config = bundle / "configs/inference.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["imports"].append(f"$open('{tmp_path.name}_evaluated', 'w')")
    config.write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tools.release.__main__.check_bundle", lambda bundle: [])
    problems = release(bundle, str(tmp_path / "dist"), "")
    assert len(problems) == 1
    assert not (tmp_path / f"{tmp_path.name}_evaluated").exists()
    assert is_generated(BUNDLES / "cpc3d")
