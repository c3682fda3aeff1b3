import pytest
from PIL import Image

from tools.data.annotated import find_graded_images
from tools.utils.errors import InputError


def folder(root, table, names=("10_left.jpeg", "10_right.jpeg", "11_left.jpeg"), file="trainLabels.csv", **files):
    (root / "pictures").mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (6, 5)).save(root / "pictures" / name)
    for name, content in {file: table, **files}.items():
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def graded(root, **settings):
    return {case["case"].removeprefix("pictures/"): case["label"] for case in find_graded_images(root, **settings)}


EYES = {"10_left": 0, "10_right": 4, "11_left": 2}


@pytest.mark.parametrize(
    "table",
    [
        "image,level\n10_left,0\n10_right,4\n11_left,2\n",
        "id_code,diagnosis\n10_left,0\n10_right,4\n11_left,2\n",
        "Image name,Retinopathy grade,Risk of macular edema ,,\n10_left,0,0,,\n10_right,4,2,,\n11_left,2,1,,\n,,,,\n",
        "image_id;adjudicated_dr_grade;adjudicated_gradable\n10_left.png;0;1\n10_right.png;4;1\n11_left.png;2;1\n",
        "\ufeffimage\tlevel\r\n10_left\t0\r\n10_right\t4\r\n11_left\t2\r\n",
        "IMAGE,LEVEL\n10_LEFT.JPEG,0.0\n10_right,4\n\n11_left,2\n",
    ],
)
def test_published_tables(tmp_path, table):
    assert graded(folder(tmp_path, table)) == EYES


def test_both_eyes_are_of_one_patient(tmp_path):
    cases = find_graded_images(folder(tmp_path, "image,level\n10_left,0\n10_right,4\n11_left,2\n"))
    patients = [case["patient"] for case in cases]
    assert patients[0] == patients[1] != patients[2]


def test_any_table_by_its_columns(tmp_path):
    root = folder(tmp_path, "eye,stage,age\n10_left,1,50\n10_right,0,50\n11_left,3,61\n", file="mine.csv")
    found = graded(root, label_file="mine.csv", image_column="eye", label_column="stage")
    assert found == {"10_left": 1, "10_right": 0, "11_left": 3}
    with pytest.raises(InputError, match="expected one table"):
        graded(root)
    with pytest.raises(InputError, match="expected both or none"):
        graded(root, image_column="eye")


def test_other_tables_are_ignored(tmp_path):
    table = "id_code,diagnosis\n10_left,0\n"
    root = folder(tmp_path, table, **{"sample_submission.csv": table, "notes.csv": b"n\xe4me;x\n"})
    assert graded(root) == {"10_left": 0}


def test_excluded_files_are_reported(tmp_path, capsys):
    table = "image_id,adjudicated_dr_grade,Adjudicated_Gradable\n10_left,0,1\n10_left,0,1\n10_right,,0\n"
    assert graded(folder(tmp_path, table)) == {"10_left": 0}
    message = capsys.readouterr().out
    [line] = message.splitlines()
    assert "2 files are not used" in line
    assert "ungradable images: 1 (pictures/10_right.jpeg)" in line
    assert "images without a grade: 1 (pictures/11_left.jpeg)" in line


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("image,level\n10_left,0\n12_left,1\n", r"found 1 missing: 12_left \(line 3\)"),
        ("image,level\n10_left,5\n", "line 2: expected an image and a grade from 0 to 4, found '10_left' and '5'"),
        ("image,level\n10_left,mild\n", "line 2: .* found '10_left' and 'mild'"),
        ("image,level\n10_left,1.5\n", "line 2"),
        ("image,level\n10_left,\n", "line 2"),
        ("image,level\n10_left,0\n10_left,1\n", "line 3: expected one grade of 10_left, found 1 here and 0 in line 2"),
        ("image,level\n10_left,0\n10_left.jpeg,1\n", "line 3: expected one grade of .*10_left.jpeg, found 1 here"),
        ("image,level\n", "expected rows with images and grades, found 0"),
        (
            "name,stage\n10_left,0\n",
            r"expected one table .*, found trainLabels.csv \(name,stage\); set --label_file",
        ),
        ("", "expected one table"),
    ],
)
def test_tables_that_are_wrong_are_named_with_the_line(tmp_path, table, message):
    with pytest.raises(InputError, match=message):
        graded(folder(tmp_path, table))


def test_ambiguous_tables_are_refused(tmp_path):
    root = folder(tmp_path, "image,level\n10_left,0\n", **{"other.csv": "image,level\n10_left,1\n"})
    with pytest.raises(InputError, match=r"found other\.csv .*, trainLabels\.csv"):
        graded(root)
    assert graded(root, label_file="other.csv") == {"10_left": 1}
    with pytest.raises(InputError, match=r"label_file nowhere\.csv"):
        graded(root, label_file="nowhere.csv")


@pytest.mark.parametrize(
    "stray", ["image,level\n99_left,1\n", "image,level\n10_left,0\n10_right,4\n11_left,2\n", "image,level\n"]
)
def test_a_table_of_other_images_or_a_copy_is_no_second_table(tmp_path, stray, capsys):
    root = folder(tmp_path, "image,level\n10_left,0\n10_right,4\n11_left,2\n", **{"old_trainLabels.csv": stray})
    assert graded(root) == EYES
    assert "old_trainLabels.csv" in capsys.readouterr().out


@pytest.mark.parametrize("file", ["other.csv", "valid.csv", "test.csv"])
def test_tables_of_different_images_are_read_together(tmp_path, file):
    names = ("train_images/10_left.png", "val_images/10_right.png", "test_images/11_left.png")
    for name in names:
        (tmp_path / "pictures" / name).parent.mkdir(parents=True)
    root = folder(
        *(tmp_path, "image,level\n10_left,0\n10_right,4\n", names),
        **{file: "image,level\n11_left,2\n"},
        file="labels.csv",
    )
    assert sorted(graded(root).values()) == [0, 2, 4]


def test_the_folder_of_a_table_is_advised_where_names_are_ambiguous(tmp_path):
    for part in ("A", "B"):
        (tmp_path / part).mkdir()
        folder(tmp_path / part, "image,level\n10_left,0\n10_right,4\n11_left,2\n")
    (tmp_path / "A/trainLabels.csv").unlink()
    with pytest.raises(InputError, match=r"3 ambiguous.*; set dataset_dir to B"):
        graded(tmp_path)
    assert len(graded(tmp_path / "B")) == 3


@pytest.mark.parametrize("prefix", ["pictures/", "./pictures/", "pictures\\", "../pictures/", "C:\\data\\pictures\\"])
def test_tables_may_give_paths(tmp_path, prefix):
    table = "sep=;\nimage;level\n" + "".join(f"{prefix}{name}.jpeg;{grade}\n" for name, grade in EYES.items())
    (tmp_path / "tables").mkdir()
    assert graded(folder(tmp_path, table.encode("utf-16"), file="tables/labels.csv")) == EYES


def test_a_path_is_not_matched_in_another_folder(tmp_path):
    with pytest.raises(InputError, match=r"1 missing: other/10_left \(line 2\)"):
        graded(folder(tmp_path, "image,level\nother/10_left,0\n10_right,1\n"))


def test_a_name_in_two_places_is_refused(tmp_path):
    root = folder(tmp_path, "image,level\n10_left,0\n")
    (root / "more").mkdir()
    Image.new("RGB", (6, 5)).save(root / "more/10_left.png")
    with pytest.raises(InputError, match="1 ambiguous: 10_left"):
        graded(root)


IDRID = {
    "1. Original Images/a. Training Set/IDRiD_001.jpg": 3,
    "1. Original Images/a. Training Set/IDRiD_002.jpg": 1,
    "1. Original Images/b. Testing Set/IDRiD_001.jpg": 4,
}


def idrid(root, images=IDRID):
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 5)).save(root / name)
    tables = root / "2. Groundtruths"
    tables.mkdir()
    head = "Image name,Retinopathy grade,Risk of macular edema \n"
    (tables / "a. IDRiD_Disease Grading_Training Labels.csv").write_text(head + "IDRiD_001,3,2\nIDRiD_002,1,0\n")
    (tables / "b. IDRiD_Disease Grading_Testing Labels.csv").write_text(head + "IDRiD_001,4,0\n")
    return root


def test_two_sets_with_equal_names_are_distinguished(tmp_path):
    found = {f"{case['case']}.jpg": case["label"] for case in find_graded_images(idrid(tmp_path))}
    assert found == IDRID


def test_a_set_without_its_folder_is_refused(tmp_path):
    names = ["images/a/IDRiD_001.jpg", "images/a/IDRiD_002.jpg", "images/b/IDRiD_001.jpg"]
    with pytest.raises(InputError, match="2 images in folders named …train…, found 2 missing: IDRiD_001"):
        find_graded_images(idrid(tmp_path, names))


def test_patients_of_a_column(tmp_path):
    root = folder(tmp_path, "image,level,person\n10_left,0,a\n10_right,4,b\n11_left,2,a\n")
    cases = find_graded_images(root, patient_column="Person")
    assert [case["patient"] for case in cases] == ["a", "b", "a"]
    with pytest.raises(InputError, match="expected one table"):
        find_graded_images(root, patient_column="who")
    with pytest.raises(InputError, match="line 3: expected a patient in column person, found"):
        find_graded_images(folder(root, "image,level,person\n10_left,0,a\n10_right,4,\n"), patient_column="person")
