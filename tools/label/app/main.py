"""The app that serves the downstream bundles in MONAI Label: ``monailabel start_server --app tools/label/app``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))  # MONAI Label loads this file by its path, from any folder

import tools  # noqa: E402
from tools.label.tasks import TYPES, StrictTrainTask, check_model, infer_task  # noqa: E402
from tools.utils.errors import InputError, check_choice  # noqa: E402


def bundle_folders(conf: Mapping[str, str]) -> dict[str, Path]:
    """Folders of the bundles that ``--conf models`` names, by name.

    Args:
        conf: "models", names with commas between; "bundles", the folder they are in, if not the repository's.

    Raises:
        InputError: no name, or one of no downstream bundle.
    """
    names = [name.strip() for name in conf.get("models", "").split(",")]
    folder = Path(conf.get("bundles", ROOT / "bundles")).expanduser().absolute()
    return {check_choice(name, TYPES, "models"): folder / name for name in names}


class BundleApp(MONAILabelApp):
    """The trained downstream bundles of a folder, or those of ``--conf models brats,pancreas``.

    Raises:
        InputError: see `bundle_folders` and `check_model`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        try:
            self.folders = bundle_folders(conf)
            for folder in self.folders.values():
                check_model(folder)
        except InputError:
            sys.tracebacklimit = 0  # the server ends, with the message and without its own hundred lines
            raise
        super().__init__(app_dir, studies, conf, name="Bundles", version=tools.__version__)

    def init_datastore(self) -> Datastore:
        """MONAI Label's, with photographs named as EyePACS does and published crops of nodules among the studies."""
        settings.MONAI_LABEL_DATASTORE_FILE_EXT = [*settings.MONAI_LABEL_DATASTORE_FILE_EXT, "*.jpeg", "*.npz"]
        return super().init_datastore()

    def init_infers(self) -> dict[str, BundleInferTask]:
        """A task for every bundle."""
        return {name: infer_task(folder, self.conf) for name, folder in self.folders.items()}

    def init_trainers(self) -> dict[str, BundleTrainTask]:
        """A task for every segmentation bundle: labels of the others are no masks, as MONAI Label's are."""
        return {
            name: StrictTrainTask(str(folder), self.conf, load_strict=True)
            for name, folder in self.folders.items()
            if TYPES[name] == InferType.SEGMENTATION
        }
