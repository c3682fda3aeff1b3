"""Access to the configuration of a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser
from torch import nn

from tools.bundles.arguments import check_overrides
from tools.utils.errors import InputError


class BundleConfig:
    """Training configuration of a bundle with overridden keys; components are instantiated on demand.

    Args:
        root: folder of the bundle.
        settings: values of top-level keys, as on the command line of ``monai.bundle run``.
        files: names of configurations that override ``train``, for example ``paper``.

    Raises:
        InputError: if the bundle or a configuration does not exist, a key is unknown, or a value is invalid.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any], files: Sequence[str] = ()) -> None:
        self.root = Path(root)
        # MONAI ignores overrides with None
        self.settings = {key: "$None" if value is None else value for key, value in settings.items()}
        self.files = [self._existing(name) for name in ("train", *files)]
        self.parser = ConfigParser()
        self.parser.read_config(self.files)
        check_overrides(self.settings, self.parser.get())
        self.parser.read_meta(str(self.root / "configs/metadata.json"))
        self.parser.update({"bundle_root": str(self.root), "split#output_dir": None, **self.settings})
        self.parser.parse()

    def _existing(self, name: str) -> str:
        path = self.root / "configs" / f"{name}.json"
        if not path.is_file():
            raise InputError(f"{self.root}: expected a bundle with configs/{name}.json, found none")
        return str(path)

    @property
    def name(self) -> str:
        """Name of the bundle's folder."""
        return self.root.resolve().name

    @property
    def key_metric(self) -> str:
        """Name of the key metric of validation."""
        return next(iter(self.parser.get("validate#key_metric")))

    def value(self, key: str) -> Any:
        """Return the value of a key; components are instantiated."""
        return self.parser.get_parsed_content(key)

    def component(self, key: str) -> ConfigComponent:
        """Return the component of a key with instantiated arguments."""
        return self.parser.ref_resolver.get_item(key, resolve=True)

    def has(self, key: str) -> bool:
        """Return whether the configuration has a top-level key."""
        return key in self.parser.get()

    def split(self, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
        """Return the training, validation and test cases without writing the split.

        Args:
            arguments: overridden arguments of the split, such as ``label_fraction`` and ``seed``.
        """
        return self.component("split").instantiate(**arguments)

    def encoder(self) -> nn.Module:
        """Build a new encoder on the CPU."""
        return self.component("encoder_def").instantiate()

    def card(self) -> dict[str, Any]:
        """Return the entries of the run's ``model.json`` that describe the data."""
        handlers = self.parser.get("train#handlers")
        index = next(i for i, one in enumerate(handlers) if "card" in one)
        return self.value(f"train#handlers#{index}#card")

    def steps(self) -> int:
        """Return the number of optimizer steps of a run."""
        return self.value("epochs") * self.value("steps_per_epoch")
