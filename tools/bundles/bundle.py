"""Base class of bundles, from which the files of a bundle are generated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tools.bundles import common
from tools.bundles.config import Config
from tools.bundles.keys import AS_IN_TRAINING, REGISTRY, Key, inference_defaults, sort_keys, train_defaults
from tools.bundles.metadata import fill_metadata

NULLABLE = ("spacing", "resize_shorter_edge")
REMOVED = object()  # in `Bundle.changes`: removes an entry of the family


@dataclass(frozen=True, kw_only=True)
class Bundle(ABC):
    """Base class of bundles; a subclass per family adds the shared configurations.

    Attributes:
        name: name of the folder.
        keys: additional keys of ``train.json``, and keys with other defaults than in the family.
        inference_keys: the same for ``inference.json``.
        removed_keys: keys of the family that are not in ``train.json``.
        new_keys: descriptions of keys that are not in the registry.
        paper: overrides of ``paper.json``.
        metadata: entries of ``metadata.json``.
        data_terms: terms of use of the data sets, for ``docs/data_license.txt``.
        shipped_terms: data and weights that are part of the bundle, and their terms.
        ships_weights: whether trained weights are in ``models`` and an example in ``docs/example``. Then evaluation and
            inference use the weights by default, inference the example, and training writes to ``output/models``.
        changes: changed entries of each configuration file by key (``#`` for nested keys); `REMOVED` removes an entry.
    """

    family: ClassVar[str]
    #: keys of inference and evaluation whose values are read from the card of the trained network
    card_keys: ClassVar[tuple[str, ...]] = ()

    name: str
    keys: Config
    inference_keys: Config = field(default_factory=dict)
    removed_keys: tuple[str, ...] = ()
    new_keys: Sequence[Key] = ()
    paper: Config
    metadata: Config = field(default_factory=dict)
    data_terms: str
    shipped_terms: str = "The bundle ships no data and no weights."
    ships_weights: bool = False
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @abstractmethod
    def family_configs(self) -> dict[str, Config]:
        """Return the configurations by name, before `changes`."""

    def family_metadata(self) -> Config:
        """Return the entries of ``metadata.json`` of the family, which `metadata` overrides."""
        return {}

    @property
    def declared_keys(self) -> tuple[Key, ...]:
        """Descriptions of the keys that are not in the registry."""
        return tuple(self.new_keys)

    @property
    def registry(self) -> dict[str, Key]:
        """Descriptions of all keys by name, in the order of the files."""
        return REGISTRY | {key.name: key for key in self.declared_keys}

    @property
    def bundle_keys(self) -> Config:
        """Additional keys of ``train.json``, and keys with other defaults than in the family."""
        return self.keys

    @property
    def bundle_inference_keys(self) -> Config:
        """Additional keys of ``inference.json``, and keys with other defaults than in the family."""
        return self.inference_keys

    @property
    def train_keys(self) -> Config:
        """Keys of ``train.json`` with their defaults."""
        values = train_defaults(self.family) | self.bundle_keys
        return sort_keys(
            {name: value for name, value in values.items() if name not in self.removed_keys}, self.registry
        )

    @property
    def infer_keys(self) -> Config:
        """Keys of ``inference.json`` with their defaults."""
        train = train_defaults(self.family) | self.bundle_keys
        own = {
            name: train[name] if value is AS_IN_TRAINING else value
            for name, value in self.bundle_inference_keys.items()
        }
        return sort_keys(inference_defaults(self.family, train | own) | own, self.registry)

    def from_card(self, keys: Config) -> Config:
        """Return keys with the values of the network's card, see `common.card`, or the given keys if it has no card."""
        return {name: recorded(name, value) if name in self.card_keys else value for name, value in keys.items()}

    def card_overrides(self) -> Config:
        """Return the overrides of ``evaluate.json`` that set keys to the values of the network's card."""
        keys = {name: value for name, value in self.train_keys.items() if name in self.card_keys}
        return {**common.card(common.MODEL), **self.from_card(keys)}

    def configs(self) -> dict[str, Config]:
        """Return all configurations by name, including ``metadata``."""
        files = {
            "paper": self.paper,
            **self.family_configs(),
            "metadata": fill_metadata(self.family_metadata() | self.metadata),
        }
        for name, changes in self.changes.items():
            for key, value in changes.items():
                _change(files[name], key, value)
        return files


def recorded(name: str, default: Any) -> str:
    """Return the expression of a key's value in the network's card, with a default.

    Args:
        name: name of the key.
        default: value without a card; expressions start with ``$``.
    """
    text = default[1:] if isinstance(default, str) and default.startswith("$") else repr(default)
    if name in NULLABLE:  # recorded as null if it does not apply to the images
        return f"$@recorded.get({name!r}) or {text}"
    return f"$@recorded.get({name!r}, {text})"


def _change(config: Config, key: str, value: Any) -> None:
    *path, last = key.split("#") if key not in config else [key]
    for part in path:
        config = config[part]
    if value is REMOVED:
        del config[last]
    else:
        config[last] = value
