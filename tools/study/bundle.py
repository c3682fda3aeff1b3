"""A bundle's configuration as the study reads it before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser
from torch import nn

from tools.bundles.arguments import check_overrides
from tools.utils.errors import InputError


class Bundle:
    """The training configuration of a bundle under some settings; parts of it are built when asked for.

    Args:
        root: the bundle's folder.
        settings: values by top-level key, as on the command line of ``monai.bundle run``.
        files: names of further configurations laid over ``train``, for example ``paper``.

    Raises:
        InputError: no such bundle or configuration, an unknown key, or a value of the wrong kind or out of range.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any], files: Sequence[str] = ()) -> None:
        self.root = Path(root)
        self.settings = {
            key: "$None" if value is None else value for key, value in settings.items()
        }  # as MONAI takes it
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
        """Name of the score that validation selects by."""
        return next(iter(self.parser.get("validate#key_metric")))

    def value(self, key: str) -> Any:
        """The value of a key, built if it names a component."""
        return self.parser.get_parsed_content(key)

    def component(self, key: str) -> ConfigComponent:
        """The component that a key names, its arguments built."""
        return self.parser.ref_resolver.get_item(key, resolve=True)

    def has(self, key: str) -> bool:
        """Whether the configuration has a top-level key."""
        return key in self.parser.get()

    def split(self, **arguments: Any) -> dict[str, list[dict[str, Any]]]:
        """Cases by part, with other arguments for the split than the settings'; nothing is written.

        Args:
            arguments: of the split's target, such as ``label_fraction`` and ``seed``.
        """
        return self.component("split").instantiate(**arguments)

    def encoder(self) -> nn.Module:
        """A new encoder of the kind that the settings name, on the CPU."""
        return self.component("encoder_def").instantiate()

    def contract(self) -> dict[str, Any]:
        """What the run's ``model.json`` will say of the data."""
        handlers = self.parser.get("train#handlers")
        index = next(i for i, one in enumerate(handlers) if "contract" in one)
        return self.value(f"train#handlers#{index}#contract")

    def steps(self) -> int:
        """Optimizer steps of a run."""
        return self.value("epochs") * self.value("steps_per_epoch")
