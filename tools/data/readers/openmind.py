"""Reader of OpenMind as downloaded: folder ``OpenMind`` and ``openneuro_metadata.csv`` with one row per scan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from sys import intern

from tools.data.readers.base import Folder
from tools.data.readers.data_list import DataListReader, Entry
from tools.data.readers.tables import iterate_table
from tools.utils.errors import InputError

IMAGE, MODALITY = "image_path", "modality"
OPTIONAL = ANON_MASK, ANAT_MASK, SCORE = "anon_mask_path", "anat_mask_path", "image_quality_score"
DEFAULT_SESSION = "ses-DEFAULT"


class OpenMind(DataListReader):
    """OpenMind (Wald et al., ICCV 2025): 114,000 volumes of brain MR of the data sets of OpenNeuro.

    Paths in the table start in ``OpenMind``, or in the folder of the table if there is no such folder. They are
    ``ds…/sub-…/[ses-…/]…``, which names data set, subject and session.
    """

    layout = "OpenMind (openneuro_metadata.csv)"
    file_name = "openneuro_metadata.csv"

    @classmethod
    def detect(cls, folder: Folder) -> bool:
        """Return whether the folder has the table."""
        return (folder.root / cls.file_name).is_file()

    def read_entries(self) -> Iterator[Entry]:
        """Yield the rows of the table."""
        inside = self.folder.root / "OpenMind"
        base = str(inside if inside.is_dir() else self.folder.root)
        for line, cells in iterate_table(self.list_path, [IMAGE, MODALITY], OPTIONAL):
            place = f"line {line}"
            parts = cells[IMAGE].replace("\\", "/").split("/")
            image = self.resolve(base, cells[IMAGE], place)
            if len(parts) < 3:
                raise InputError(
                    f"{self.list_path}: {place}: expected image_path as data set/subject/…, found {cells[IMAGE]!r}"
                )
            session = parts[2] if parts[2].startswith("ses-") and len(parts) > 3 else DEFAULT_SESSION
            masks = [
                self.resolve(base, cells[name], place) if cells.get(name) else None for name in (ANON_MASK, ANAT_MASK)
            ]
            yield Entry(
                image,
                intern(os.path.join(parts[0], parts[1])),
                intern(session),
                intern(cells[MODALITY]),
                *masks,
                quality_score=self.score(cells.get(SCORE), place),
            )
