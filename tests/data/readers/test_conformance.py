"""Properties of every reader; a new one is a line in `EXAMPLES`."""

import os
import time

import pytest
from data.readers import layouts

from tools.data.readers import READERS, Folder, finalise_cases, find_reader
from tools.data.readers.base import images_of
from tools.data.readers.bids import Bids
from tools.data.readers.brats import Brats
from tools.data.readers.class_folders import ClassFolders
from tools.data.readers.decathlon import Decathlon
from tools.data.readers.deeplesion import DeepLesion
from tools.data.readers.graded_images import GradedImages
from tools.data.readers.image_folder import ImageFolder
from tools.data.readers.lidc import LidcCrops
from tools.data.readers.medmnist import MedMnist
from tools.data.readers.nnssl import Nnssl
from tools.data.readers.nnunet import NnUNet
from tools.data.readers.nnunet_images import NnUNetImages
from tools.data.readers.openmind import OpenMind
from tools.data.readers.volume_folder import VolumeFolder
from tools.data.readers.volumes import VolumeReader

#: function that writes a data set of some cases in the layout of a reader
EXAMPLES = {
    Decathlon: layouts.decathlon,
    NnUNet: layouts.nnunet,
    Brats: layouts.brats,
    Bids: layouts.bids,
    VolumeFolder: layouts.volumes,
    Nnssl: layouts.nnssl,
    OpenMind: layouts.openmind,
    NnUNetImages: layouts.nnunet_images,
    ImageFolder: layouts.images,
    GradedImages: layouts.graded_images,
    ClassFolders: layouts.class_folders,
    LidcCrops: layouts.lidc_crops,
    MedMnist: layouts.medmnist,
    DeepLesion: layouts.deeplesion,
}
#: layouts of which many cases are found quickly, with the files of a case
GROWING = {Decathlon: 2, NnUNet: 3, Bids: 2, VolumeFolder: 2, Nnssl: 3, OpenMind: 3, GradedImages: 1, ClassFolders: 1}
#: layouts with label maps
LABELLED = {Decathlon, NnUNet, Bids, VolumeFolder}
EACH = pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)


def read(kind, root):
    folder = Folder.open(root, "images")
    return find_reader(folder, kind.kind)


def content(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_reader_has_an_example():
    missing = [reader.__name__ for reader in READERS if reader not in EXAMPLES]
    assert not missing


@EACH
def test_a_layout_is_recognised_by_its_reader_and_read_completely(tmp_path, kind, capsys):
    EXAMPLES[kind](tmp_path)
    before = content(tmp_path)
    reader = read(kind, tmp_path)
    assert type(reader) is kind
    assert capsys.readouterr().out == ""
    cases = finalise_cases(reader.folder, reader.cases())
    assert len(cases) == 3
    assert [case["case"] for case in cases] == sorted({case["case"] for case in cases})
    assert len({case["patient"] for case in cases}) == 3
    names = reader.channel_names()
    assert names is None or len(names) == len(images_of(cases[0])) or len(images_of(cases[0])) == 1
    assert all(os.path.isfile(path) for case in cases for path in images_of(case))
    assert content(tmp_path) == before


@EACH
def test_the_cases_do_not_depend_on_the_order_of_calls(tmp_path, kind):
    EXAMPLES[kind](tmp_path)
    first, second = read(kind, tmp_path), read(kind, tmp_path)
    predictions = first.cases(), first.labels(), first.channel_names()
    assert predictions == (lambda names, labels: (second.cases(), labels, names))(
        second.channel_names(), second.labels()
    )


@EACH
def test_every_file_is_used_or_counted_with_a_reason(tmp_path, kind):
    EXAMPLES[kind](tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "gone.nii.gz").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    reader = read(kind, tmp_path)
    cases = reader.cases()
    line = reader.folder.describe_ignored(cases)
    assert "\n" not in line
    assert "broken links: 1 (gone.nii.gz)" in line
    assert "pipes, sockets and devices: 1 (pipe.nii.gz)" in line
    used = {path for case in cases for path in [*images_of(case), case.get("anon_mask")]} - {None}
    metadata = [path for path in tmp_path.iterdir() if path.suffix in (".json", ".csv")]
    found = sum(1 for path in tmp_path.rglob("*") if path.is_file() or not path.is_dir())
    assert line.startswith(f"{found - len(used) - len(metadata)} files are not used: ")


@EACH
def test_label_maps_are_no_cases_unless_wanted(tmp_path, kind):
    EXAMPLES[kind](tmp_path)
    if not issubclass(kind, VolumeReader) or kind.label_files is VolumeReader.label_files:
        pytest.skip("a layout without label maps")
    folder = Folder.open(tmp_path, "volumes")
    reader = find_reader(folder, kind.kind)
    assert len(set(reader.label_files().values())) == 3
    assert {*reader.label_files().values()}.isdisjoint(path for case in reader.cases() for path in images_of(case))
    every = find_reader(folder, kind.kind, include_label_maps=True).cases()
    assert {*reader.label_files().values()} <= {path for case in every for path in images_of(case)}


@pytest.mark.parametrize("kind", GROWING, ids=lambda kind: kind.__name__)
def test_time_grows_with_the_number_of_files(tmp_path, kind):
    """Eight times the files take far less than 64 times the time, which a search per file would."""
    seconds = []
    for count in (250, 2000):
        root = tmp_path / str(count)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("scan", "label_map", "image"):
                patch.setattr(
                    layouts, name, lambda path, **_: (path.parent.mkdir(parents=True, exist_ok=True), path.touch())
                )
            EXAMPLES[kind](root, count)
        begin = time.process_time()
        reader = read(kind, root)
        assert len(reader.cases()) == count
        assert kind not in LABELLED or len(reader.label_files()) >= count
        reader.folder.describe_ignored()
        seconds.append(time.process_time() - begin)
    assert seconds[1] < 24 * max(seconds[0], 0.02)
    assert seconds[1] / (2000 * GROWING[kind]) < 0.002
