"""MONAI Label app of the downstream bundles: ``monailabel start_server --app tools/label/app``."""

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
    """Return the folders of the bundles in ``--conf models`` by name.

    Args:
        conf: "models", comma-separated names; "bundles", the folder of the bundles, by default ``bundles/``.

    Raises:
        InputError: if there is no name, or a name is not a downstream bundle.
    """
    names = [name.strip() for name in conf.get("models", "").split(",")]
    folder = Path(conf.get("bundles", ROOT / "bundles")).expanduser().absolute()
    return {check_choice(name, TYPES, "models"): folder / name for name in names}


class BundleApp(MONAILabelApp):
    """App of the trained downstream bundles of ``--conf models brats,pancreas``.

    Raises:
        InputError: as `bundle_folders` and `check_model`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        try:
            self.folders = bundle_folders(conf)
            for folder in self.folders.values():
                check_model(folder)
        except InputError:
            sys.tracebacklimit = 0  # the server ends with the message, without a long traceback
            raise
        super().__init__(app_dir, studies, conf, name="Bundles", version=tools.__version__)

    def init_datastore(self) -> Datastore:
        """Initialise the datastore, with additional suffixes for EyePACS images and nodule crops."""
        settings.MONAI_LABEL_DATASTORE_FILE_EXT = [*settings.MONAI_LABEL_DATASTORE_FILE_EXT, "*.jpeg", "*.npz"]
        return super().init_datastore()

    def init_infers(self) -> dict[str, BundleInferTask]:
        """Build the inference task of each bundle."""
        return {name: infer_task(folder, self.conf) for name, folder in self.folders.items()}

    def init_trainers(self) -> dict[str, BundleTrainTask]:
        """Build the training task of each segmentation bundle; other bundles have no label maps."""
        return {
            name: StrictTrainTask(str(folder), self.conf, load_strict=True)
            for name, folder in self.folders.items()
            if TYPES[name] == InferType.SEGMENTATION
        }
