"""Reader of nnssl's data list ``pretrain_data.json``: data sets, subjects, sessions and scans."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any

from tools.data.readers.base import Folder
from tools.data.readers.data_list import DataListReader, Entry
from tools.utils.errors import InputError
from tools.utils.inputs import DICTIONARY, TEXT, Rule, check_fields, read_json

SCORES, DERIVED = "image_quality_score", "derived_from"
ID = Rule("text or a number", lambda value: isinstance(value, str | int))
COLLECTION = {"collection_index": ID, "collection_name": TEXT, "datasets": DICTIONARY}
DATASET = {"dataset_index": ID, "subjects": DICTIONARY, "dataset_info?": ({f"{SCORES}?": ([DICTIONARY],)},)}
SUBJECT = {"sessions": DICTIONARY}
SESSION = {"images": [DICTIONARY]}
MASKS = {"anonymization_mask?": (TEXT,), "anatomy_mask?": (TEXT,)}
SCAN = {"image_path": TEXT, "modality": TEXT, "image_info?": (DICTIONARY,), "associated_masks?": (MASKS,)}


class Nnssl(DataListReader):
    """Data list of nnssl.

    A path that starts with ``$name`` starts in the folder of the environment variable ``name``, as in nnssl, or in the
    data folder if there is no such variable. The image quality score of a scan is that of its modality in its data set.
    """

    layout = "a data list of nnssl (pretrain_data.json)"
    file_name = "pretrain_data.json"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether the folder has the list."""
        return (folder.root / cls.file_name).is_file()

    def read_entries(self) -> Iterator[Entry]:
        """Yield the scans of all data sets."""
        content = read_json(self.list_path, COLLECTION, "data list of nnssl")
        for key, dataset in self._items(content, "datasets", DATASET):
            scores = self._scores(dataset, f"datasets.{key}")
            for subject_id, subject in self._items(dataset, "subjects", SUBJECT, f"datasets.{key}"):
                patient = intern(f"{dataset['dataset_index']}/{subject_id}")
                where = f"datasets.{key}.subjects.{subject_id}"
                for session_id, session in self._items(subject, "sessions", SESSION, where):
                    for number, scan in enumerate(session["images"]):
                        place = f"{where}.sessions.{session_id}.images[{number}]"
                        yield self._entry(scan, scores, place, patient, intern(session_id))

    def _items(
        self, above: Mapping[str, Any], field: str, schema: Mapping[str, Any], place: str = ""
    ) -> Iterator[tuple[str, Any]]:
        """Yield the members of a dictionary of the list, whose fields are compared with a schema."""
        for key, member in above[field].items():
            check_fields(self.list_path, member, schema, f"{place}.{field}.{key}".lstrip("."))
            yield key, member

    def _scores(self, dataset: Mapping[str, Any], place: str) -> dict[tuple[Any, Any], float | None]:
        """Return the image quality scores of a data set by modality and origin."""
        listed = (dataset.get("dataset_info") or {}).get(SCORES) or []
        place = f"{place}.dataset_info.{SCORES}"
        return {(one.get("modality"), one.get(DERIVED)): self.score(one.get(SCORES), place) for one in listed}

    def _entry(
        self, scan: dict[str, Any], scores: Mapping[Any, float | None], place: str, patient: str, session: str
    ) -> Entry:
        check_fields(self.list_path, scan, SCAN, place)
        masks = scan.get("associated_masks") or {}
        paths = [
            self._path(masks[name], f"{place}.associated_masks.{name}") if masks.get(name) else None
            for name in ("anonymization_mask", "anatomy_mask")
        ]
        origin = (scan.get("image_info") or {}).get(DERIVED)
        modality = intern(scan["modality"])
        image = self._path(scan["image_path"], f"{place}.image_path")
        return Entry(image, patient, session, modality, *paths, quality_score=scores.get((modality, origin)))

    def _path(self, name: str, place: str) -> str:
        """Return the absolute path of a file; raise `InputError` if it is outside the data folder."""
        first, _, rest = name.replace("\\", "/").partition("/")
        if not first.startswith("$"):
            return self.resolve(str(self.folder.root), name, place)
        try:
            return self.resolve(os.environ.get(first[1:]) or str(self.folder.root), rest, place)
        except InputError as error:
            raise InputError(f"{error} ({name})") from None
