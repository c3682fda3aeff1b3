"""Data set readers, splits, cached data sets, samplers and data loaders."""

from tools.data import annotated, cases
from tools.data.cache.dataset import CachedDataset
from tools.data.label_values import brain_tumour_labels, read_labels, resection_cavity_values
from tools.data.lazy import LazyDataset
from tools.data.listing import listed_once
from tools.data.loader import build_case_dataset, build_case_loader, build_dataset, build_lazy_dataset, build_loader
from tools.data.nodule_split import split_nodules
from tools.data.official_split import class_names, split_classified_images, split_official_cases
from tools.data.sampler import ResumableBatchSampler, SeededTransformDataset, stable_seed
from tools.data.split import split_cases, split_labelled_cases

find_detection_scans = annotated.find_detection_scans
find_cases = listed_once(cases.find_cases)
find_images = listed_once(cases.find_images)
find_labelled_cases = listed_once(cases.find_labelled_cases)
channel_names = listed_once(cases.channel_names)
image_channels = listed_once(cases.image_channels)
find_classified_images = listed_once(annotated.find_classified_images)
find_graded_images = listed_once(annotated.find_graded_images)
find_lesions = listed_once(annotated.find_lesions)
find_nodules = listed_once(annotated.find_nodules)
find_unlabelled_nodules = listed_once(annotated.find_unlabelled_nodules)

__all__ = [
    "CachedDataset",
    "LazyDataset",
    "ResumableBatchSampler",
    "SeededTransformDataset",
    "brain_tumour_labels",
    "build_case_dataset",
    "build_case_loader",
    "build_dataset",
    "build_lazy_dataset",
    "build_loader",
    "channel_names",
    "class_names",
    "find_cases",
    "find_classified_images",
    "find_detection_scans",
    "find_graded_images",
    "find_images",
    "find_labelled_cases",
    "find_lesions",
    "find_nodules",
    "find_unlabelled_nodules",
    "image_channels",
    "read_labels",
    "resection_cavity_values",
    "split_cases",
    "split_classified_images",
    "split_labelled_cases",
    "split_nodules",
    "split_official_cases",
    "stable_seed",
]
