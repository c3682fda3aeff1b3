"""Data lists of nnssl and OpenMind."""

import json

import pytest
from data.readers.layouts import nnssl, nnssl_list, openmind, openmind_scan, write_json, write_table

from tools.data.cases import channel_names, find_cases
from tools.utils.errors import InputError

KINDS = {"nnssl": nnssl, "openmind": openmind}
LIST = {"nnssl": "pretrain_data.json", "openmind": "openneuro_metadata.csv"}
EACH = pytest.mark.parametrize("kind", KINDS)


def facts(cases, *keys):
    return [tuple(case.get(key) for key in keys) for case in cases]


def test_both_lists_name_the_same_cases(tmp_path):
    found = {}
    for kind, write in KINDS.items():
        write(tmp_path / kind)
        found[kind] = find_cases(tmp_path / kind)
    assert facts(found["nnssl"], "patient", "session", "modality") == facts(
        found["openmind"], "patient", "session", "modality"
    )
    assert facts(found["nnssl"], "patient", "session", "modality")[1] == ("ds000001/sub-01", "ses-1", "T1w")
    masks = [case["anon_mask"].removeprefix(f"{tmp_path}/nnssl/") for case in found["nnssl"]]
    assert masks == [openmind_scan(number)[1] for number in range(3)]


@EACH
def test_scans_of_low_quality_are_counted(tmp_path, kind, capsys):
    KINDS[kind](tmp_path, 6)
    cases = find_cases(tmp_path, max_quality_score=3)
    assert [case["patient"][:8] for case in cases] == ["ds000000", "ds000001", "ds000002", "ds000005"]
    line = capsys.readouterr().out
    assert "image quality score above 3: 2 (" in line
    assert "anatomy masks, and masks of scans that are not used: 8 (" in line
    with pytest.raises(InputError, match=r"max_quality_score: .*at most 0\.5, found none among 6"):
        find_cases(tmp_path, max_quality_score=0.5)


def test_quality_scores_need_a_data_list(tmp_path):
    nnssl(tmp_path)
    (tmp_path / LIST["nnssl"]).unlink()
    with pytest.raises(InputError, match="max_quality_score: expected None"):
        find_cases(tmp_path, max_quality_score=3)


@EACH
def test_files_outside_the_list_are_counted(tmp_path, kind, capsys):
    KINDS[kind](tmp_path)
    where = tmp_path / ("OpenMind" if kind == "openmind" else "") / openmind_scan(0)[0]
    where.with_name("extra.nii.gz").write_bytes(where.read_bytes())
    assert len(find_cases(tmp_path, include_label_maps=True)) == 3
    assert "volumes that the data list does not name: 1 (" in capsys.readouterr().out


@EACH
def test_patterns_choose_among_the_listed_scans(tmp_path, kind):
    KINDS[kind](tmp_path)
    channels = {"T1": "*_T1w.nii.gz"}
    assert len(find_cases(tmp_path, channels)) == 3
    assert channel_names(tmp_path, channels) == ["T1"]


@EACH
def test_missing_files_are_refused_in_one_line(tmp_path, kind):
    KINDS[kind](tmp_path)
    next(tmp_path.rglob("*ses-1_T1w.nii.gz")).unlink()
    with pytest.raises(InputError, match=r"expected 3 scans, found 1 of them missing: .*T1w\.nii\.gz; ") as caught:
        find_cases(tmp_path)
    assert LIST[kind] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../other/a.nii.gz", "/etc/a.nii.gz", "..\\..\\a.nii.gz", "$HOME/a.nii.gz"])
@EACH
def test_paths_may_not_leave_the_folder(tmp_path, kind, name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    root = tmp_path / "data"
    KINDS[kind](root)
    path = root / LIST[kind]
    listed = openmind_scan(1)[1] if kind == "openmind" else f"$nnssl_raw/{openmind_scan(1)[1]}"
    path.write_text(path.read_text().replace(listed, name.replace("\\", "\\\\") if kind == "nnssl" else name))
    if kind == "openmind" and name.startswith("$"):
        return  # tables have no variables
    with pytest.raises(InputError, match=r": expected a path in .*a\.nii\.gz"):
        find_cases(root)


def test_variables_of_nnssl_are_folders_of_the_environment(tmp_path, monkeypatch):
    nnssl(tmp_path / "inside")
    write_json(tmp_path / "pretrain_data.json", nnssl_list())
    with pytest.raises(InputError, match="3 of them missing"):
        find_cases(tmp_path)
    monkeypatch.setenv("nnssl_raw", str(tmp_path / "inside"))
    assert len(find_cases(tmp_path)) == 3


def change(content, path, value):
    *above, last = path
    for key in above:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value


SESSION = ("datasets", "ds000000", "subjects", "sub-01", "sessions", "ses-1")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("datasets",), KeyError, "expected the field datasets"),
        (("datasets",), [], "datasets: expected a dictionary"),
        (("datasets",), {}, "expected scans, found none"),
        (("datasets", "ds000000", "subjects"), KeyError, "datasets.ds000000: expected the field subjects"),
        (SESSION, [], r"sessions\.ses-1: expected a dictionary, found a list"),
        ((*SESSION, "images", 0, "image_path"), 7, r"images\[0\].image_path: expected text, found 7"),
        ((*SESSION, "images", 0, "modality"), KeyError, r"images\[0\]: expected the field modality"),
        ((*SESSION, "images", 0, "associated_masks"), "no", r"associated_masks: expected a dictionary"),
        (
            ("datasets", "ds000000", "dataset_info"),
            {"image_quality_score": [{"image_quality_score": "good"}]},
            "number",
        ),
    ],
)
def test_invalid_lists_of_nnssl_are_refused_in_one_line(tmp_path, path, value, message):
    nnssl(tmp_path)
    content = nnssl_list()
    change(content, path, value)
    write_json(tmp_path / "pretrain_data.json", content)
    with pytest.raises(InputError, match=message) as caught:
        find_cases(tmp_path)
    assert "pretrain_data.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_nnssl_that_is_not_json_is_refused(tmp_path):
    nnssl(tmp_path)
    (tmp_path / "pretrain_data.json").write_text(json.dumps(nnssl_list())[:-1])
    with pytest.raises(InputError, match=r"pretrain_data\.json: expected a data list of nnssl"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["image_path"], [openmind_scan(0)[0]], "expected columns modality, found image_path"),
        (["image_path", "modality"], ["scan.nii.gz", "T1w"], "line 2: expected image_path as data set/subject"),
        (["image_path", "modality"], ["", "T1w"], "line 2: expected a path in"),
        (["image_path", "modality", "image_quality_score"], [openmind_scan(0)[0], "T1w", "good"], "line 2: .* number"),
        (["image_path", "modality"], None, "expected scans, found none"),
    ],
)
def test_invalid_tables_of_openmind_are_refused_in_one_line(tmp_path, header, row, message):
    openmind(tmp_path)
    write_table(tmp_path / "openneuro_metadata.csv", header, [] if row is None else [row])
    with pytest.raises(InputError, match=message) as caught:
        find_cases(tmp_path)
    assert "openneuro_metadata.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_cells_and_missing_optional_columns_are_no_masks_and_no_scores(tmp_path):
    openmind(tmp_path)
    scans = [openmind_scan(number)[0] for number in range(3)]
    header = ["image_path", "modality", "anon_mask_path", "image_quality_score"]
    write_table(tmp_path / "openneuro_metadata.csv", header, [[scans[0], "T1w", "", ""], [scans[1], "T2w", "", "nan"]])
    assert facts(find_cases(tmp_path), "modality", "anon_mask") == [("T1w", None), ("T2w", None)]
    with pytest.raises(InputError, match="max_quality_score"):
        find_cases(tmp_path, max_quality_score=5)


def test_masks_can_be_required(tmp_path):
    nnssl(tmp_path)
    assert len(find_cases(tmp_path, anonymised=True)) == 3
    (tmp_path / LIST["nnssl"]).unlink()
    with pytest.raises(InputError, match="exclude_anonymised: expected False"):
        find_cases(tmp_path, anonymised=True)
