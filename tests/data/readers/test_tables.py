import itertools
import time

import pytest

from tools.data.readers.base import Folder
from tools.data.readers.matching import FileIndex
from tools.data.readers.tables import column_names, find_tables, read_table, resolve_table
from tools.utils.errors import InputError

HEADER, ROWS = ("Image", "Level", "note, of whom"), [("10_left", "0", "a;b"), ("ä/11", "4", "")]


def text(separator, first="", end="\n"):
    quoted = [[f'"{cell}"' if set(cell) & set(",;\t|") else cell for cell in row] for row in (HEADER, *ROWS)]
    return first + end.join(separator.join(row) for row in quoted) + end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("first", ["", "sep={}", '"sep={}"', " "])
def test_tables_of_any_program_are_read_alike(tmp_path, encoding, first):
    for separator, end in itertools.product(",;\t|", ("\n", "\r\n", "\r")):
        start = first.format(separator) + end if first else ""
        (tmp_path / "a.csv").write_bytes(text(separator, start, end).encode(encoding))
        rows = read_table(tmp_path / "a.csv", ["image", "LEVEL"])
        assert [tuple(row.cells.values()) for row in rows] == ROWS
        assert list(rows[0].cells) == [name.lower() for name in HEADER]
        assert [row.line for row in rows] == [2 + bool(first), 3 + bool(first)]


def test_only_tables_with_the_columns_are_found(tmp_path):
    (tmp_path / "real.csv").write_text("Image;Level\n1;0\n")
    (tmp_path / "other.TSV").write_text("image\tgrade\n1\t0\n")
    (tmp_path / "no_text.csv").write_bytes(b"\xff\x00\xd8image,level\xb5")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "link.csv").symlink_to("nowhere")
    folder = Folder.open(tmp_path, "tables")
    assert find_tables(folder, ["IMAGE", "level"]) == [tmp_path / "real.csv"]
    assert column_names(tmp_path / "empty.csv") == []
    assert resolve_table(folder, "real.csv") == resolve_table(folder, str(tmp_path / "real.csv"))
    for name in ("link.csv", "absent.csv", "."):
        with pytest.raises(InputError, match=r"label_file|expected a readable table") as error:
            resolve_table(folder, name)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="expected columns patient, found Image, Level"):
        read_table(tmp_path / "real.csv", ["image", "patient"])


def index(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return FileIndex(Folder.open(root, "files"), [root / name for name in names])


FILES = ("labels/x.png", "a/1.png", "b/1.png", "a/2.v3.jpeg", "a/Ünal.PNG", "deep/er/9.png", "9/9.nii.gz")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        *[(name, ["a/1.png"]) for name in ("a/1.png", "a/1", "./a/1.png", "a\\1.png", "A/1.PNG", "a/1.jpg")],
        *[(name, ["a/1.png"]) for name in ("../a/1.png", "/data/a/1.png", "D:\\sets\\a\\1.png", "labels/../a/1")],
        *[(name, ["a/2.v3.jpeg"]) for name in ("2.v3", "2.v3.jpeg", "2.v3.png")],
        ("u\u0308nal", ["a/Ünal.PNG"]),
        ("er/9", ["deep/er/9.png"]),
        ("x.png", ["labels/x.png"]),
        ("1", ["a/1.png", "b/1.png"]),
        ("9", ["deep/er/9.png", "9/9.nii.gz"]),
        *[(name, []) for name in ("c/1.png", "2", "2.v4", "3", "../../a/1.png", "..", "a", "", "x/../../a/../../a/1")],
    ],
)
def test_files_by_the_names_of_a_table(tmp_path, name, found):
    files = index(tmp_path, *FILES).find(name, tmp_path / "labels" / "table.csv")
    assert [file.relative_to(tmp_path).as_posix() for file in files] == found


@pytest.mark.parametrize("layout", ["{}.png", "{}/scan.png", "scan/{}.png"])
def test_the_cost_of_matching_is_linear(tmp_path, layout):
    def cost(count):
        names = [layout.format(number) for number in range(count)]
        folder = Folder(tmp_path, [tmp_path / name for name in names])
        start = time.process_time()
        files = FileIndex(folder, folder.files)
        assert all(files.find(name, tmp_path / "t.csv") == [tmp_path / name] for name in names)
        return time.process_time() - start

    cost(100)
    assert min(cost(8000) for _ in range(2)) < 24 * min(cost(1000) for _ in range(3))
