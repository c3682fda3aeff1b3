import csv
import io
import itertools
import json
import re

import numpy as np
import pytest

from tools.data.annotated import find_lesions
from tools.utils.errors import InputError

PLACE = {"image": "", "folder": ""}
ELSEWHERE = {**PLACE, "row": ""}
HEADER = [
    "File_name",
    "Patient_index",
    "Study_index",
    "Series_ID",
    "Key_slice_index",
    "Measurement_coordinates",
    "Bounding_boxes",
    "Lesion_diameters_Pixel_",
    "Normalized_lesion_location",
    "Coarse_lesion_type",
    "Possibly_noisy",
    "Slice_range",
    "Spacing_mm_px_",
    "Image_size",
    "DICOM_windows",
    "Patient_gender",
    "Patient_age",
    "Train_Val_Test",
]
FIRST = {
    "File_name": "000001_01_01_109.png",
    "Patient_index": "1",
    "Study_index": "1",
    "Series_ID": "1",
    "Key_slice_index": "109",
    "Measurement_coordinates": "233.537, 95.0204, 234.057, 106.977, 231.169, 101.605, 236.252, 101.143",
    "Bounding_boxes": "226.169, 90.0204, 241.252, 111.977",
    "Lesion_diameters_Pixel_": "11.9677, 5.10387",
    "Normalized_lesion_location": "0.44666, 0.283794, 0.434454",
    "Coarse_lesion_type": "3",
    "Possibly_noisy": "0",
    "Slice_range": "103, 115",
    "Spacing_mm_px_": "0.488281, 0.488281, 5",
    "Image_size": "512, 512",
    "DICOM_windows": "-175, 275",
    "Patient_gender": "F",
    "Patient_age": "NaN",
    "Train_Val_Test": "1",
}
SECOND = FIRST | {"File_name": "000002_01_01_162.png", "Patient_index": "2", "Key_slice_index": "162"}
SECOND |= {"Slice_range": "159, 168", "Spacing_mm_px_": "0.8, 0.8, 1", "Image_size": "640, 480"}
SECOND |= {"Train_Val_Test": "2", "Coarse_lesion_type": "-1", "Bounding_boxes": "1, 11, 21, 41"}
THIRD = FIRST | {"File_name": "000003_02_01_060.png", "Patient_index": "3", "Key_slice_index": "60"}
THIRD |= {"Slice_range": "60, 62", "Train_Val_Test": "3", "Possibly_noisy": "1"}
ROWS = [SECOND, FIRST, THIRD, FIRST | {"Bounding_boxes": "100, 100, 120, 150", "Coarse_lesion_type": "5"}]


def table(rows, header=HEADER):
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, quoting=csv.QUOTE_NONNUMERIC, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def slices(root, rows=ROWS, below="Images_png"):
    """Files of all slices that the rows speak of, without content."""
    for row in rows:
        folder, _, name = row["File_name"].rpartition("_")
        place = root / below / folder
        place.mkdir(parents=True, exist_ok=True)
        first, last = map(int, row["Slice_range"].split(","))
        for number in range(first, last + 1):
            (place / f"{number:03d}.png").touch()
        (place / name).touch()


def folder(root, rows=ROWS, content=None, file="DL_info.csv"):
    slices(root)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(table(rows) if content is None else content, encoding="utf-8")
    return root


def coco(rows, start=1):
    """The rows in COCO style, as of MVP-Net: boxes from 0, and areas that mean nothing."""
    images, annotations = {}, []
    for row in rows:
        patient, _, number = row["File_name"].rpartition("_")
        name = f"{patient}/{number}"
        width, height = map(int, row["Image_size"].split(","))
        spacing = list(map(float, row["Spacing_mm_px_"].split(",")))
        image = {"id": start + len(images), "file_name": name, "height": height, "width": width}
        image |= {"slice_no": int(row["Key_slice_index"]), "spacing": spacing[0], "slice_intv": spacing[2]}
        image = images.setdefault(name, image)
        x1, y1, x2, y2 = (float(edge) - 1 for edge in row["Bounding_boxes"].split(","))
        box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": x1 * (y2 - y1), "category_id": 1, "iscrowd": 0}
        noisy = int(row["Possibly_noisy"])
        annotations.append(box | {"id": len(annotations), "image_id": image["id"], "noisy": noisy})
    return {"images": list(images.values()), "annotations": annotations, "categories": [{"id": 1, "name": "Lesion"}]}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_published_row(tmp_path):
    [case] = find_lesions(folder(tmp_path, [FIRST]))
    assert case.pop("boxes") == [pytest.approx([225.169, 89.0204, 240.252, 110.977], abs=1e-9)]
    assert case == {
        "case": "000001_01_01/109",
        "patient": "000001",
        "image": str(tmp_path / "Images_png/000001_01_01/109.png"),
        "folder": str(tmp_path / "Images_png/000001_01_01"),
        "row": "DL_info.csv, line 2",
        "interval": 5.0,
        "spacing": 0.488281,
        "first": 103,
        "last": 115,
        "height": 512,
        "width": 512,
        "types": [3],
        "noisy": [0],
        "split": "training",
    }


def test_a_box_is_what_was_measured_and_5_pixels_around(tmp_path):
    [case] = find_lesions(folder(tmp_path, [FIRST]))
    points = np.array([float(one) - 1 for one in FIRST["Measurement_coordinates"].split(",")]).reshape(4, 2)
    np.testing.assert_allclose(case["boxes"][0], [*points.min(0) - 5, *points.max(0) + 5], atol=1e-6)


def test_rows_of_one_file_are_one_case(tmp_path):
    cases = find_lesions(folder(tmp_path))
    assert [case["case"] for case in cases] == ["000001_01_01/109", "000002_01_01/162", "000003_02_01/060"]
    assert [len(case["boxes"]) for case in cases] == [2, 1, 1]
    assert [case["types"] for case in cases] == [[3, 5], [-1], [3]]
    assert [case["noisy"] for case in cases] == [[0, 0], [0], [1]]
    assert [case["split"] for case in cases] == ["training", "validation", "test"]
    assert [case["row"] for case in cases] == [f"DL_info.csv, line {line}" for line in (3, 2, 4)]
    assert (cases[1]["width"], cases[1]["height"]) == (640, 480)
    assert json.loads(json.dumps(cases)) == cases


def test_order_of_rows_does_not_matter(tmp_path):
    cases = [find_lesions(folder(tmp_path / str(i), rows)) for i, rows in enumerate((ROWS, ROWS[::-1]))]
    apart = dict.fromkeys(("boxes", "types", "noisy", "row", "image", "folder"))
    for one, other in zip(*cases, strict=True):
        assert sorted(one["boxes"]) == sorted(other["boxes"])
        assert one | apart == other | apart


def test_written_cases_are_found_again(tmp_path):
    cases = find_lesions(folder(tmp_path / "one"))
    number = {"training": 1, "validation": 2, "test": 3}
    rows = [
        {
            "File_name": case["case"].replace("/", "_") + ".png",
            "Key_slice_index": int(case["case"].rpartition("/")[2]),
            "Bounding_boxes": ", ".join(str(edge + 1) for edge in box),
            "Coarse_lesion_type": kind,
            "Possibly_noisy": noisy,
            "Slice_range": f"{case['first']}, {case['last']}",
            "Spacing_mm_px_": f"{case['spacing']}, {case['spacing']}, {case['interval']}",
            "Image_size": f"{case['width']}, {case['height']}",
            "Train_Val_Test": number[case["split"]],
        }
        for case in cases
        for box, kind, noisy in zip(case["boxes"], case["types"], case["noisy"], strict=True)
    ]
    root = folder(tmp_path / "two", content=table(rows, list(rows[0])))
    for one, other in zip(cases, find_lesions(root), strict=True):
        assert one | ELSEWHERE == other | ELSEWHERE


@pytest.mark.parametrize("below", ["Images_png", ".", "Images_png/Images_png"])
def test_image_folders(tmp_path, below):
    slices(tmp_path, below=below)
    (tmp_path / "DL_info.csv").write_text(table(ROWS))
    assert find_lesions(tmp_path)[0]["image"] == str(tmp_path / below / "000001_01_01/109.png")


def test_places_of_tables(tmp_path, monkeypatch):
    root = folder(tmp_path / "a", file="tables/DL_info.csv")
    (root / "other.csv").write_text("File_name,grade\na,1\n")
    expected = find_lesions(root)
    assert len(expected) == 3
    (root / "copy.csv").write_text(table(ROWS[:1]))
    assert find_lesions(root) == expected, "the published name goes first"
    assert len(find_lesions(root, "copy.csv")) == len(find_lesions(root, root / "copy.csv")) == 1
    assert find_lesions(root, "tables") == expected
    monkeypatch.chdir(root / "tables")
    assert find_lesions("..", "DL_info.csv") == expected
    (root / "tables/DL_info.csv").rename(root / "tables/mine.csv")
    with pytest.raises(
        InputError, match=r"expected one table of lesions, found copy\.csv, tables/mine\.csv; .*--annot"
    ):
        find_lesions(root)
    (root / "copy.csv").unlink()
    assert [case["row"] for case in find_lesions(root)] == ["mine.csv, line 3", "mine.csv, line 2", "mine.csv, line 4"]


def without_places(cases):
    return [{key: value for key, value in case.items() if key not in ("row", "types")} for case in cases]


def test_json_and_table_give_equal_cases(tmp_path):
    expected = find_lesions(folder(tmp_path))
    for word, part in (("train", 1), ("val", 2), ("test", 3)):
        rows = [row for row in ROWS if row["Train_Val_Test"] == str(part)]
        write(tmp_path / f"annotations/deeplesion_{word}.json", coco(rows, 7))
    (tmp_path / "DL_info.csv").unlink()
    write(tmp_path / "settings.json", {"images": "no list"})
    cases = find_lesions(tmp_path)
    assert without_places(cases) == without_places(expected)
    assert find_lesions(tmp_path, "annotations") == cases
    assert {kind for case in cases for kind in case["types"]} == {-1}
    assert cases[0]["row"] == "deeplesion_train.json, image id 7"
    assert [case["split"] for case in find_lesions(tmp_path, "annotations/deeplesion_val.json")] == ["validation"]


def test_json_files_without_a_word_for_the_split_have_none(tmp_path):
    slices(tmp_path)
    for names in (("lesions",), ("trainval",), ("train_1", "latest")):
        for name, rows in zip(names, (ROWS[:1], ROWS[1:]) if names[1:] else (ROWS,), strict=True):
            write(tmp_path / f"{name}.json", coco(rows))
        assert [set(case) & {"split"} for case in find_lesions(tmp_path)] == [set()] * 3
        for name in names:
            (tmp_path / f"{name}.json").unlink()


def test_json_spacing_may_be_a_list_and_noisy_missing(tmp_path):
    slices(tmp_path)
    content = coco(ROWS)
    for image in content["images"]:
        image["spacing"] = [image["spacing"], image["spacing"], image["slice_intv"]]
    content["images"].append(content["images"][0] | {"id": 99, "file_name": "000002_01_01/163.png"})
    for one in content["annotations"]:
        del one["noisy"]
    write(tmp_path / "lesions.json", content)
    cases = find_lesions(tmp_path)
    assert [case["spacing"] for case in cases] == [0.488281, 0.8, 0.8, 0.488281]
    assert not any(flag for case in cases for flag in case["noisy"])
    assert cases[2]["boxes"] == cases[2]["types"] == cases[2]["noisy"] == []


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text, str.lower])
def test_other_ways_of_writing_a_table(tmp_path, change):
    expected = find_lesions(folder(tmp_path / "a"))
    found = find_lesions(folder(tmp_path / "b", content=change(table(ROWS))))
    assert [case | PLACE for case in found] == [case | PLACE for case in expected]


def test_unicode(tmp_path):
    row = {key: value for key, value in FIRST.items() if key != "Patient_index"} | {"File_name": "病人_é_109.png"}
    (tmp_path / "Images_png/病人_é").mkdir(parents=True)
    (tmp_path / "Images_png/病人_é/109.png").touch()
    (tmp_path / "DL_info.csv").write_text(table([row], list(row)), encoding="utf-8")
    [case] = find_lesions(tmp_path)
    assert (case["case"], case["patient"]) == ("病人_é/109", "病人")


def test_boxes_are_cut_off_at_the_edge_as_far_as_they_were_widened(tmp_path):
    row = FIRST | {"Bounding_boxes": "-3.5, 500, 20, 516.5"}
    [case] = find_lesions(folder(tmp_path, [row]))
    assert case["boxes"] == [[0.0, 499.0, 19.0, 512.0]]


BAD = [
    (
        {"File_name": "../../etc_109.png"},
        "expected a File_name such as 000001_01_01_109.png, found '../../etc_109.png'",
    ),
    ({"File_name": "/etc/passwd_109.png"}, "expected a File_name"),
    ({"File_name": ".._109.png"}, "expected a File_name"),
    ({"File_name": "C:\\a_109.png"}, "expected a File_name"),
    ({"File_name": "000001_01_01_109"}, "expected a File_name"),
    ({"File_name": "000001_01_01/109.png"}, "expected a File_name"),
    ({"File_name": "109.png"}, "expected a File_name"),
    ({"File_name": ""}, "expected a File_name"),
    ({"Patient_index": "one"}, "expected 1 number under Patient_index, found 'one'"),
    ({"Key_slice_index": "108"}, "expected key slice 109 within its Slice_range, found 108 and 103 to 115"),
    ({"Key_slice_index": "109.5"}, r"expected integers under Key_slice_index, found 109\.5"),
    ({"Slice_range": "110, 115"}, "expected key slice 109 within its Slice_range, found 109 and 110 to 115"),
    ({"Slice_range": "115, 103"}, "found 109 and 115 to 103"),
    ({"Slice_range": "103"}, "expected 2 numbers under Slice_range, found '103'"),
    ({"Slice_range": "-103, 115"}, "found 109 and -103 to 115"),
    ({"Bounding_boxes": "1, 2, 3"}, "expected 4 numbers under Bounding_boxes, found '1, 2, 3'"),
    ({"Bounding_boxes": "1, 2, 3, x"}, "expected 4 numbers under Bounding_boxes"),
    ({"Bounding_boxes": "1, 2, nan, 4"}, "expected 4 numbers under Bounding_boxes"),
    ({"Bounding_boxes": "1, 2, inf, 4"}, "expected 4 numbers under Bounding_boxes"),
    ({"Bounding_boxes": "1, 2, 1e999, 4"}, "expected 4 numbers under Bounding_boxes"),
    ({"Bounding_boxes": "1, 2, 1e300, 4"}, "expected a box .* 512 x 512 pixels, found"),
    ({"Bounding_boxes": "-5, 20, 30, 40"}, r"expected a box .* found \(-6, 19, 29, 39\), counted from 0"),
    ({"Bounding_boxes": "10, 20, 30, 519"}, "expected a box .* 512 x 512 pixels"),
    ({"Bounding_boxes": "30, 20, 10, 40"}, "expected a box x1, y1, x2, y2 with an area"),
    ({"Bounding_boxes": "10, 20, 30, 20"}, "expected a box x1, y1, x2, y2 with an area"),
    ({"Bounding_boxes": "513, 20, 517, 40"}, "expected a box x1, y1, x2, y2 with an area"),
    ({"Coarse_lesion_type": "9"}, "expected a lesion type of -1 or 1 to 8, and noisy 0 or 1, found 9 and 0"),
    ({"Coarse_lesion_type": "0"}, "expected a lesion type"),
    ({"Coarse_lesion_type": "NaN"}, "expected 1 number under Coarse_lesion_type, found 'NaN'"),
    ({"Possibly_noisy": "2"}, "found 3 and 2"),
    ({"Spacing_mm_px_": "0.5, 0.5, 0"}, "expected mm between slices above 0, found 0"),
    ({"Spacing_mm_px_": "0.5, 0.5, -5"}, "expected mm between slices above 0, found -5"),
    ({"Spacing_mm_px_": "0.5, 0.5"}, "expected 3 numbers under Spacing_mm_px_, found '0.5, 0.5'"),
    ({"Spacing_mm_px_": "0.5, 0.5, "}, "expected 3 numbers under Spacing_mm_px_"),
    ({"Spacing_mm_px_": "0, 0, 5"}, "expected mm per pixel above 0, found 0"),
    ({"Image_size": "512, 0"}, "expected pixels above 0, found 0"),
    ({"Image_size": "512.5, 512"}, "expected integers under Image_size"),
    ({"Train_Val_Test": "4"}, "expected 1, 2 or 3 under Train_Val_Test, found 4"),
    ({"Train_Val_Test": "1.5"}, "expected 1, 2 or 3 under Train_Val_Test, found 1.5"),
    ({"Train_Val_Test": ""}, "expected 1 number under Train_Val_Test, found ''"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_invalid_rows_are_named_and_can_be_excluded(tmp_path, change, message, capsys):
    root = folder(tmp_path, [SECOND, FIRST | change, THIRD])
    with pytest.raises(
        InputError, match=rf"1 of 3 rows cannot be used .*:\n  DL_info\.csv, line 3: .*{message}"
    ) as caught:
        find_lesions(root)
    assert str(caught.value).count("\n") == 1
    assert [case["case"] for case in find_lesions(root, skip_bad=True)] == ["000002_01_01/162", "000003_02_01/060"]
    assert re.search(f"note: 1 of 3 rows cannot be used.*\n  DL_info.csv, line 3: .*{message}", capsys.readouterr().out)
    with pytest.raises(InputError, match="expected at least one valid key slice, found none in 1 rows"):
        find_lesions(folder(tmp_path / "alone", [FIRST | change]), skip_bad=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"Spacing_mm_px_": "0.488281, 0.488281, 2.5"},
            "interval 5.0 .* DL_info.csv, line 2, found 2.5",
        ),
        ({"Spacing_mm_px_": "0.5, 0.5, 5"}, "spacing 0.488281 .* found 0.5"),
        ({"Slice_range": "102, 115"}, "first 103 .* found 102"),
        ({"Image_size": "768, 512"}, "width 512 .* found 768"),
        ({"Train_Val_Test": "3"}, "split training .* DL_info.csv, line 2, found test"),
        ({"Patient_index": "7"}, "patient 000001 .* found 000007"),
    ],
)
def test_rows_of_one_file_that_contradict_each_other(tmp_path, change, message):
    root = folder(tmp_path, [FIRST, FIRST | change, SECOND])
    with pytest.raises(InputError, match=rf"DL_info\.csv, line 3: expected {message}"):
        find_lesions(root)
    assert [case["case"] for case in find_lesions(root, skip_bad=True)] == ["000002_01_01/162"], "the image is excluded"


def test_a_patient_in_two_parts_is_named_with_both_rows(tmp_path):
    other = FIRST | {"File_name": "000001_02_01_104.png", "Key_slice_index": "104", "Train_Val_Test": "3"}
    root = folder(tmp_path, [FIRST, SECOND, other])
    message = r"line 4: expected patient 000001 in one split, found test here and training in DL_info\.csv, line 2"
    with pytest.raises(InputError, match=message):
        find_lesions(root)
    cases = find_lesions(root, skip_bad=True)
    assert [case["case"] for case in cases] == ["000001_01_01/109", "000002_01_01/162"]


def test_many_bad_rows_are_ten_lines_and_a_number(tmp_path):
    root = folder(tmp_path, [SECOND, *itertools.repeat(FIRST | {"Train_Val_Test": "9"}, 23)])
    with pytest.raises(InputError, match="23 of 24 rows cannot be used") as caught:
        find_lesions(root)
    *lines, last = str(caught.value).split("\n")
    assert (len(lines), last) == (11, "  and 13 more")


def test_missing_images(tmp_path, capsys):
    root = folder(tmp_path)
    for name in ("000001_01_01/109.png", "000003_02_01/060.png"):
        (root / "Images_png" / name).unlink()
    message = r"3 key slices, found 2 missing: 000001_01_01/109\.png \(DL_info\.csv, line 3\), 000003_02_01/060\.png \("
    with pytest.raises(InputError, match=message):
        find_lesions(root)
    assert [case["case"] for case in find_lesions(root, skip_bad=True)] == ["000002_01_01/162"]
    assert "2 of 3 key slices are missing" in capsys.readouterr().out
    (root / "Images_png/000002_01_01/162.png").unlink()
    for skip_bad in (False, True):
        with pytest.raises(InputError, match=r"000002_01_01/162\.png, found none of 3 .*DL_info"):
            find_lesions(root, skip_bad=skip_bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"DL_info\.csv: expected columns File_name, .*, found none"),
        (table([], HEADER[:-1]), r"DL_info\.csv: expected columns Train_Val_Test, found File_name"),
        (table([]), r"DL_info\.csv: expected key slices with lesions, found none"),
        ("\n\n", r"DL_info\.csv: expected columns"),
        (table([FIRST]) + '"' + "9" * 200_000 + '"\n', "expected a table in UTF-8 or UTF-16, found field larger"),
    ],
)
def test_tables_that_are_wrong(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        find_lesions(folder(tmp_path, content=content))


def test_folders_that_are_wrong(tmp_path):
    with pytest.raises(InputError, match=r"expected DL_info\.csv, or JSON files .* found none in .*--annotations"):
        find_lesions(tmp_path)
    with pytest.raises(InputError, match="expected a folder of DeepLesion images, found nothing"):
        find_lesions(tmp_path / "none")
    with pytest.raises(InputError, match=r"annotations no\.csv: expected a file or folder, found none"):
        find_lesions(tmp_path, "no.csv")
    (tmp_path / "DL_info.csv").write_bytes("File_name,ä".encode("latin-1"))
    with pytest.raises(InputError, match="expected a table in UTF-8"):
        find_lesions(tmp_path)


def test_names_that_no_file_system_takes(tmp_path):
    long = FIRST | {"File_name": f"{'0' * 5000}_109.png"}
    with pytest.raises(InputError, match="expected 2 key slices, found 1 missing"):
        find_lesions(folder(tmp_path, [SECOND, long]))


@pytest.mark.parametrize(
    ("image", "annotation", "message"),
    [
        ({"file_name": "../000001/109.png"}, {}, "image id 2: expected a file_name such as 000001_01_01/109.png"),
        ({"file_name": "/etc/109.png"}, {}, "image id 2: expected a file_name"),
        ({"file_name": "../109.png"}, {}, "image id 2: expected a file_name"),
        ({"file_name": None}, {}, "image id 2: expected a file_name such as .*, found None"),
        ({"slice_intv": 0}, {}, "image id 2: expected mm between slices above 0, found 0"),
        ({"slice_intv": None}, {}, "image id 2: expected 1 number under slice_intv, found 'None'"),
        ({"spacing": []}, {}, "image id 2: expected 1 number under spacing"),
        ({"spacing": float("nan")}, {}, "image id 2: expected 1 number under spacing, found 'nan'"),
        ({"height": 512.5}, {}, "image id 2: expected integers under height, width"),
        ({"width": 10**400}, {}, "image id 2: expected 2 numbers under height, width"),
        ({"id": 1}, {"image_id": 1}, "image id 1: expected a unique id, found 2"),
        (
            {"file_name": "000002_01_01/162.png"},
            {},
            r"image id 2: expected each image once, found it .*, image id 1",
        ),
        ({}, {"bbox": "1234"}, "image id 2: expected 4 numbers under bbox, found '1234'"),
        ({}, {"bbox": [1, 2, -3, 4]}, "image id 2: expected a box x1, y1, x2, y2 with an area"),
        ({}, {"bbox": [1, 2, 3, 1e6]}, "image id 2: expected a box"),
        ({}, {"noisy": "x"}, "image id 2: expected 1 number under noisy"),
        ({}, {"image_id": 8}, "annotation id 1: expected an image with the id 8"),
    ],
)
def test_json_that_is_wrong(tmp_path, image, annotation, message):
    slices(tmp_path)
    content = coco([SECOND, FIRST])
    content["images"][1] |= image
    content["annotations"][1] |= annotation
    write(tmp_path / "lesions.json", content)
    with pytest.raises(InputError, match=rf"lesions\.json, {message}"):
        find_lesions(tmp_path)


def test_an_image_in_two_json_files_is_refused(tmp_path):
    slices(tmp_path)
    for place in ("a", "b"):
        write(tmp_path / place / "lesions.json", coco([FIRST]))
    with pytest.raises(InputError, match=r"expected each image once, found it .*lesions\.json, image id 1"):
        find_lesions(tmp_path)
    assert len(find_lesions(tmp_path, "a")) == 1


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000, "\x00"])
def test_damaged_json(tmp_path, text):
    slices(tmp_path)
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(InputError, match=r"train\.json: expected a JSON file"):
        find_lesions(tmp_path)


@pytest.mark.parametrize("content", [{}, [], 7, {"images": [], "annotations": {}}, {"images": [1], "annotations": []}])
def test_json_of_another_kind(tmp_path, content):
    write(tmp_path / "train.json", content)
    for annotations in (None, "train.json"):
        with pytest.raises(InputError, match="or JSON files with images and annotations, found none"):
            find_lesions(tmp_path, annotations)
