"""Small data sets in the layouts that the readers recognise."""

from __future__ import annotations

import csv
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


def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


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


def openmind_scan(number: int) -> tuple[str, str, str]:
    """Return the paths of a scan of OpenMind, its anonymisation mask and its anatomy mask."""
    start = f"ds{number:06d}/sub-01/ses-1/anat/sub-01_ses-1_T1w"
    return f"{start}.nii.gz", f"{start}_anon_mask.nii.gz", f"{start}_anat_mask.nii.gz"


def openmind(root: Path, count: int = 3) -> None:
    rows = []
    for i in range(count):
        image, *masks = openmind_scan(i)
        scan(root / "OpenMind" / image)
        for mask in masks:
            label_map(root / "OpenMind" / mask)
        rows.append([image, "T1w", *masks, 1 + i % 5, 30])
    header = ["image_path", "modality", "anon_mask_path", "anat_mask_path", "image_quality_score", "age"]
    write_table(root / "openneuro_metadata.csv", header, rows)


def nnssl_list(count: int = 3) -> dict[str, object]:
    """Return the content of a data list of scans of `openmind_scan`, one per data set."""
    datasets = {}
    for i in range(count):
        image, *masks = (f"$nnssl_raw/{path}" for path in openmind_scan(i))
        masks = dict(zip(("anonymization_mask", "anatomy_mask"), masks, strict=True))
        entry = {"name": "scan", "image_path": image, "modality": "T1w", "image_info": {}, "associated_masks": masks}
        scores = [{"modality": "T1w", "derived_from": None, "image_quality_score": 1 + i % 5}]
        datasets[f"ds{i:06d}"] = {
            "dataset_index": f"ds{i:06d}",
            "name": None,
            "dataset_info": {"image_quality_score": scores},
            "subjects": {"sub-01": {"sessions": {"ses-1": {"session_id": "ses-1", "images": [entry]}}}},
        }
    return {"collection_index": 1, "collection_name": "Dataset001_Made_up", "datasets": datasets}


def nnssl(root: Path, count: int = 3) -> None:
    for i in range(count):
        image, *masks = openmind_scan(i)
        scan(root / image)
        for mask in masks:
            label_map(root / mask)
    write_json(root / "pretrain_data.json", nnssl_list(count))


def volumes(root: Path, count: int = 3) -> None:
    for i in range(count):
        scan(root / f"images/s{i}.nii.gz")
        label_map(root / f"labels/s{i}.nii.gz")


def nnunet_images(root: Path, count: int = 3) -> None:
    for i in range(count):
        for channel in range(2):
            image(root / f"imagesTr/c_{i}_{channel:04d}.png")
    write_json(root / "dataset.json", {"channel_names": {"0": "red", "1": "infrared"}})


def images(root: Path, count: int = 3) -> None:
    for i in range(count):
        image(root / f"p{i}.png")


def graded_images(root: Path, count: int = 3) -> None:
    images(root, count)
    write_table(root / "labels.csv", ["image", "level"], [[f"p{i}", i % 5] for i in range(count)])


def class_folders(root: Path, count: int = 3) -> None:
    for i in range(count):
        image(root / ("cat", "dog")[i % 2] / f"p{i}.png")


def lidc_crops(root: Path, count: int = 3) -> None:
    rows = [[f"lidc{i}_1", f"P{i}", (1, 5)[i % 2]] for i in range(count)]
    write_table(root / "table.csv", ["index", "uid", "malignancy_mode"], rows)
    for name, *_ in rows:
        np.savez(root / f"{name}.npz", voxel=np.zeros((4, 4, 4), np.uint8))


def medmnist(root: Path) -> None:
    arrays = {f"{part}_images": np.zeros((1, 4, 4, 4), np.uint8) for part in ("train", "val", "test")}
    labels = {f"{part}_labels": np.zeros((1, 1), np.uint8) for part in ("train", "val", "test")}
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "nodulemnist3d.npz", **arrays, **labels)


def deeplesion(root: Path, count: int = 3) -> None:
    header = ["File_name", "Key_slice_index", "Bounding_boxes", "Coarse_lesion_type", "Possibly_noisy", "Slice_range"]
    header += ["Spacing_mm_px_", "Image_size", "Train_Val_Test"]
    rows = []
    for i in range(1, 1 + count):
        image(root / f"Images_png/{i:06d}_01_01/009.png")
        rows.append([f"{i:06d}_01_01_009.png", 9, "1, 1, 5, 5", 1, 0, "9, 9", "0.8, 0.8, 5", "9, 8", 1])
    write_table(root / "DL_info.csv", header, rows)
