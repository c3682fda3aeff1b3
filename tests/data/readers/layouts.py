"""Small data sets in the layouts that the readers recognise."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

_RANDOM = np.random.default_rng(0)


def scan(path: Path, shape: tuple[int, ...] = (8, 9, 10)) -> Path:
    """Write a volume of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = (_RANDOM.random(shape) * 1000).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), path)
    return path


def label_map(path: Path, values: int = 2, dtype: type = np.uint8, shape: tuple[int, ...] = (8, 9, 10)) -> Path:
    """Write a label map of slabs with the values 0, 1, 2 …"""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.broadcast_to((np.arange(shape[0]) * values // shape[0])[:, None, None], shape).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([2.0, 2, 2, 1])), path)
    return path


def image(path: Path) -> Path:
    """Write a 2D image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((_RANDOM.random((8, 9, 3)) * 255).astype(np.uint8)).save(path)
    return path


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def decathlon(root: Path, count: int = 3) -> None:
    pairs = [{"image": f"./imagesTr/c_{i}.nii.gz", "label": f"./labelsTr/c_{i}.nii.gz"} for i in range(count)]
    for pair in pairs:
        scan(root / pair["image"])
        label_map(root / pair["label"])
    labels = {"0": "background", "1": "organ"}
    write_json(root / "dataset.json", {"modality": {"0": "CT"}, "labels": labels, "training": pairs})


def nnunet(root: Path, count: int = 3, channels: tuple[str, ...] = ("T1", "FLAIR"), **changes: object) -> None:
    for i in range(count):
        for channel in range(len(channels)):
            scan(root / f"imagesTr/c_{i}_{channel:04d}.nii.gz")
        label_map(root / f"labelsTr/c_{i}.nii.gz")
    content = {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {"background": 0, "organ": 1},
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    write_json(root / "dataset.json", content | changes)


def brats(root: Path, count: int = 3) -> None:
    for i in range(count):
        for word in ("flair", "t1", "t1ce", "t2"):
            scan(root / f"B_{i}" / f"B_{i}_{word}.nii.gz")
        label_map(root / f"B_{i}" / f"B_{i}_seg.nii.gz", values=3)


def bids(root: Path, count: int = 3) -> None:
    write_json(root / "dataset_description.json", {"Name": "made up"})
    for i in range(count):
        scan(root / f"sub-{i:02d}/anat/sub-{i:02d}_T1w.nii.gz")
        label_map(root / f"derivatives/manual/sub-{i:02d}/anat/sub-{i:02d}_dseg.nii.gz")


def volumes(root: Path, count: int = 3) -> None:
    for i in range(count):
        scan(root / f"images/s{i}.nii.gz")
        label_map(root / f"labels/s{i}.nii.gz")


def images(root: Path, count: int = 3) -> None:
    for i in range(count):
        image(root / f"p{i}.png")


def graded_images(root: Path, count: int = 3) -> None:
    for i in range(count):
        image(root / f"images/r{i}.png")
    (root / "labels.csv").write_text("image,level\n" + "".join(f"r{i},{i % 5}\n" for i in range(count)))


def class_folders(root: Path, count: int = 3) -> None:
    for i in range(count):
        image(root / ("cat", "dog")[i % 2] / f"{i}.png")


def crop(path: Path, **arrays: np.ndarray) -> Path:
    """Write an npz file, of a nodule by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **(arrays or {"voxel": np.zeros((3, 4, 5), np.uint8)}))
    return path


def lidc(root: Path, count: int = 3) -> None:
    for i in range(count):
        crop(root / f"nodule/lidc{i}_1.npz")
    rows = "".join(f"lidc{i}_1,P{i},{(1, 5)[i % 2]}\n" for i in range(count))
    (root / "nodules.csv").write_text("index,uid,malignancy_mode\n" + rows)


def medmnist(root: Path) -> None:
    arrays = {f"{part}_images": np.zeros((1, 4, 4, 4), np.uint8) for part in ("train", "val", "test")}
    crop(root / "nodulemnist3d.npz", **arrays, **{name.replace("images", "labels"): [[1]] for name in arrays})


def deeplesion(root: Path, count: int = 3) -> None:
    header = "File_name,Key_slice_index,Bounding_boxes,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    rows = [header + "Spacing_mm_px_,Image_size,Train_Val_Test"]
    for i in range(1, count + 1):
        image(root / f"Images_png/{i:06}_01_01/009.png")
        rows.append(f'{i:06}_01_01_009.png,9,"1, 1, 20, 20",1,0,"8, 10","0.8, 0.8, 5","64, 64",1')
    (root / "DL_info.csv").write_text("\n".join(rows))
