"""Cases, splits, prepared data and the order in which it is drawn."""

from tools.data.cache.dataset import CachedDataset
from tools.data.cases import channel_names, find_cases
from tools.data.classes import class_names, find_classified_pictures, split_pictures
from tools.data.deeplesion import find_detection_scans, find_lesions
from tools.data.grades import find_graded_pictures
from tools.data.labelled import brain_tumour_labels, find_labelled_cases, read_labels, resection_cavity_values
from tools.data.lazy import LazyDataset
from tools.data.loader import build_case_loader, build_cases, build_dataset, build_loader, build_stream
from tools.data.nodule_split import split_nodules
from tools.data.nodules import find_crops, find_nodules
from tools.data.official_split import split_official_cases
from tools.data.pictures import find_images, find_pictures, image_channels
from tools.data.sampler import ResumableBatchSampler, SeededTransformDataset, stable_seed
from tools.data.split import split_cases, split_labelled_cases

__all__ = [
    "CachedDataset",
    "LazyDataset",
    "ResumableBatchSampler",
    "SeededTransformDataset",
    "brain_tumour_labels",
    "build_case_loader",
    "build_cases",
    "build_dataset",
    "build_loader",
    "build_stream",
    "channel_names",
    "class_names",
    "find_cases",
    "find_classified_pictures",
    "find_crops",
    "find_detection_scans",
    "find_graded_pictures",
    "find_images",
    "find_labelled_cases",
    "find_lesions",
    "find_nodules",
    "find_pictures",
    "image_channels",
    "read_labels",
    "resection_cavity_values",
    "split_cases",
    "split_labelled_cases",
    "split_nodules",
    "split_official_cases",
    "split_pictures",
    "stable_seed",
]
