"""Pairing of images and label maps by their paths."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tools.data.readers import words
from tools.data.readers.base import Folder
from tools.utils.errors import InputError

CHOICE = (
    "merge them into one file, remove all but one, or list the pairs in a dataset.json in dataset_dir: "
    '{"training": [{"image": "…", "label": "…"}], "labels": {"0": "background", "1": "…"}}'
)
_CHANNEL = re.compile(r"_\d{4}$")
_NUMBERED = re.compile(r"(?<![^\W_])(?!(?:reader|rater|observer|annotator|expert)\d+(?![^\W_]))[^\W_]*\d")


def pair_labels(folder: Folder, images: Iterable[Path], label_maps: Iterable[Path]) -> dict[str, str]:
    """Find the label map of each image by its path.

    Words for modality, image and label are removed from all paths. A label map belongs to an image if, in this order:

    - the paths are equal, or equal without the last words of the label map, such as a structure (``a_liver.nii``);
    - the paths are equal without the channel number of nnU-Net;
    - the file names are equal, in any folder;
    - the folders are equal and have only one image.

    Raises:
        InputError: if an image has several label maps.
    """
    keys = {path: _key(folder.case_id(path)) for path in images}
    find = _Finder(set(keys.values()))
    candidates: dict[str, list[Path]] = defaultdict(list)
    for path in label_maps:
        for key in find(_key(folder.case_id(path))):
            candidates[key].append(path)
    return choose_label_maps(folder, {path: candidates[key] for path, key in keys.items() if key in candidates})


def choose_label_maps(folder: Folder, candidates: Mapping[Path, Sequence[Path]]) -> dict[str, str]:
    """Return the label map of each image; among several, the label map that shares most words of the path.

    Raises:
        InputError: if several label maps share equally many words.
    """
    found = {}
    for image, labels in candidates.items():
        if len(labels) > 1:
            own = Counter(words.split_words(folder.case_id(image).lower()))
            shared = {one: (own & Counter(words.split_words(folder.case_id(one).lower()))).total() for one in labels}
            labels = [one for one in labels if shared[one] == max(shared.values())]
        if len(labels) > 1:
            shown = ", ".join(map(folder.relative, labels[:3]))
            raise InputError(f"{image}: expected one label map, found {len(labels)} ({shown}): {CHOICE}")
        found[str(image)] = str(labels[0])
    return found


class _Finder:
    """Search for the image keys that match the key of a label map.

    Args:
        keys: keys of the images, see `_key`.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(keys)
        self._without_channel: dict[str, set[str]] = defaultdict(set)
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._by_folder: dict[str, set[str]] = defaultdict(set)
        for key in self._keys:
            place = key.rpartition("/")[0]
            self._without_channel[_plain(_CHANNEL.sub("", key))].add(key)
            self._by_name[_name(_CHANNEL.sub("", key))].add(_plain(_CHANNEL.sub("", key)))
            self._by_folder[place].add(key)

    def __call__(self, key: str) -> Iterable[str]:
        """Return the matching image keys."""
        if fitting := [one for one in (key, *map(_plain, _shorten(key))) if one in self._keys]:
            return fitting[:1]
        if fitting := self._without_channel.get(_plain(key)):
            return fitting
        name = _name(key)
        if _NUMBERED.search(name) and len(self._by_name.get(name, ())) == 1:
            return self._without_channel[next(iter(self._by_name[name]))]
        place, _, rest = key.rpartition("/")
        return self._by_folder[place] if self._is_of_folder(place, rest) else ()

    def _is_of_folder(self, place: str, rest: str) -> bool:
        return bool(place) and not _NUMBERED.search(rest) and len(self._by_folder.get(place, ())) == 1


def _key(case: str) -> str:
    """Return the path without words that differ between image and label map; the name follows the last ``/``."""
    *folders, name = case.split("/")
    parts = [words.split_of_folder(part) or part for part in folders]
    kept = [part for part in parts if not words.is_label_folder_name(part) and words.strip_descriptors(part)]
    return _plain("/".join([*kept, words.strip_modality(name)]))


def _plain(key: str) -> str:
    """Return the key without a name that repeats the folder name."""
    place, _, name = key.rpartition("/")
    return f"{place}/" if place and name == words.strip_modality(place.rpartition("/")[2]) else key


def _name(key: str) -> str:
    """Return the name of a key, or of its folder if the name is empty."""
    place, _, name = key.rpartition("/")
    return name or words.strip_modality(place.rpartition("/")[2])


def _shorten(key: str) -> Iterator[str]:
    """Yield the key without the last word, the last two, and so on, up to a word with a digit."""
    folder, _, name = key.rpartition("/")
    parts = name.split("_")
    while parts and parts[-1] and not _NUMBERED.search(parts[-1]):
        parts.pop()
        yield f"{folder}/{'_'.join(parts)}" if folder or "/" in key else "_".join(parts)
