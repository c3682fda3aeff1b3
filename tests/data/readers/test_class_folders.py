import re

import pytest
import torch
from PIL import Image

from tools.data.annotated import find_classified_images
from tools.data.lazy import LazyDataset
from tools.data.official_split import class_names, split_classified_images
from tools.data.sampler import SeededTransformDataset
from tools.pretext.vdt.photographs import LoadRGBd, RandResizedCropd
from tools.utils.errors import InputError


def write(root, *names):
    for place, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (10 * place, 0, 0)).save(root / name)
    return root


TREE = ("train/cat/a.png", "train/cat/b.jpg", "train/dog/a.JPEG", "val/cat/x.png", "val/dog/y.png")

PARTED = {("cat", "training"), ("dog", "training"), ("cat", "validation"), ("dog", "validation")}


def test_folders_define_classes_and_splits(tmp_path):
    cases = find_classified_images(write(tmp_path, *TREE))
    assert [(case["case"], case["class"], case["label"], case["split"]) for case in cases] == [
        ("train/cat/a", "cat", 0, "training"),
        ("train/cat/b", "cat", 0, "training"),
        ("train/dog/a", "dog", 1, "training"),
        ("val/cat/x", "cat", 0, "validation"),
        ("val/dog/y", "dog", 1, "validation"),
    ]
    split = split_classified_images(cases)
    assert {part: sorted(case["case"] for case in members) for part, members in split.items()} == {
        "training": ["train/cat/a", "train/cat/b", "train/dog/a"],
        "validation": ["val/cat/x", "val/dog/y"],
    }


def classes_and_parts(root):
    cases = find_classified_images(root)
    return {(case["class"], case.get("split")) for case in cases}, len(cases)


@pytest.mark.parametrize(
    ("names", "found", "count"),
    [
        # a class may have the name of a part
        (("car/1.png", "train/1.png", "plane/1.png"), {("car", None), ("train", None), ("plane", None)}, 3),
        (("car/1.png", "train/steam/1.png", "plane/1.png"), {("car", None), ("train", None), ("plane", None)}, 3),
        (("train/train/1.png", "train/car/1.png"), {("car", None), ("train", None)}, 2),
        # test images are not used, and without a part for validation a hash chooses it
        (("train/a/1.png", "train/b/1.png", "test/a/1.png"), {("a", None), ("b", None)}, 2),
        (("Train/a/1.png", "Train/b/1.png", "TEST/1.png", "x.png"), {("a", None), ("b", None)}, 2),
        ((*TREE, "test/cat/1.png", "test/fox/1.png", "docs/figure.png"), {*PARTED}, 5),
    ],
)
def test_folders_named_after_parts(tmp_path, names, found, count, capsys):
    assert classes_and_parts(write(tmp_path, *names)) == (found, count)
    message = capsys.readouterr().out
    assert re.search(rf"\b{len(names) - count} files? (is|are) not used", message) or len(names) == count


def test_without_parts_a_hash_splits(tmp_path):
    names = [f"{kind}/{i}.png" for kind in ("mask", "dog") for i in range(20)]
    cases = find_classified_images(write(tmp_path, *names, "dog/deeper/z.png", ".hidden/1.png"))
    assert class_names(cases) == ["dog", "mask"]  # no name of a class is a mask
    assert len(cases) == 41
    split = split_classified_images(cases, 0.25, output_dir=tmp_path / "out")
    split.write()
    assert len(split["validation"]) == 10
    assert (tmp_path / "out/split.json").exists()
    again = split_classified_images(cases, split_file=tmp_path / "out/split.json")
    assert {c["case"] for c in again["validation"]} == {c["case"] for c in split["validation"]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("cat/a.png",), "expected at least 2 classes .*, found 1"),
        ((*TREE, "train/fox/a.png"), "the same classes .*, found only in one: fox"),
        (("train/a.png", "test/b.png"), "expected at least 2 classes"),
        (("train/a.png", "train/b.png", "test/cat/b.png"), "expected at least 2 classes"),
        ((*TREE, "train/cat/a.bmp"), "expected one file per case"),
    ],
)
def test_trees_that_are_none_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message):
        find_classified_images(write(tmp_path, *names))


def test_a_class_without_images_is_named(tmp_path):
    write(tmp_path, *TREE)
    (tmp_path / "train/fox").mkdir()
    (tmp_path / "train/fox/readme.txt").write_text("none yet")
    with pytest.raises(InputError, match=r"train/fox: expected images of a class .* found \.txt"):
        find_classified_images(tmp_path)


def test_a_class_must_be_trained_on(tmp_path):
    cases = find_classified_images(write(tmp_path, *TREE))
    (tmp_path / "split.json").write_text(
        '{"training": ["train/cat/a", "train/cat/b", "val/cat/x"], "validation": ["train/dog/a", "val/dog/y"]}'
    )
    with pytest.raises(InputError, match="expected images of every class, found none of dog"):
        split_classified_images(cases, split_file=tmp_path / "split.json")


def test_images_are_read_on_access(tmp_path):
    cases = find_classified_images(write(tmp_path, *TREE))
    stream = LazyDataset(cases, LoadRGBd())
    draws = SeededTransformDataset(stream, RandResizedCropd(size=(4, 4)), seed=0)
    assert draws[1, 7]["image"].equal(draws[1, 7]["image"])
    assert stream[0]["image"].dtype == torch.uint8
    (tmp_path / "train/cat/a.png").write_bytes(b"gone")
    with pytest.raises(InputError, match=r"training data, train/cat/a: .*a\.png: expected a readable image"):
        stream[0]


def test_bad_images_are_ignored_with_skip_bad(tmp_path, capsys):
    cases = find_classified_images(write(tmp_path, *TREE))
    (tmp_path / "train/cat/a.png").write_bytes(b"gone")
    stream = LazyDataset(cases, LoadRGBd(), skip_bad=True)
    assert stream[0]["case"] == "train/cat/b"
    assert "train/cat/a is ignored" in capsys.readouterr().out
    for name in TREE:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="found none among 5"):
        stream[0]


def test_parts_without_one_to_train_on_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"found only the splits test, val"):
        find_classified_images(write(tmp_path, "val/cat/a.png", "val/dog/a.png", "test/cat/a.png"))
