"""Description of a bundle, from which its files are generated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tools.bundles import common
from tools.bundles.config import Config
from tools.bundles.keys import AS_IN_TRAINING, REGISTRY, Key, inference_defaults, sort_keys, train_defaults
from tools.bundles.metadata import fill_metadata

NULL_WHERE_UNUSED = ("spacing", "resize_shorter_edge")
REMOVED = object()  # in `Bundle.changes`: the family's entry is left out


@dataclass(frozen=True, kw_only=True)
class Bundle(ABC):
    """What is a bundle's own; a subclass for each family adds what its bundles share.

    Attributes:
        name: name of the folder.
        keys: keys of ``train.json`` that its family does not have, or has with other defaults.
        inference_keys: the same for ``inference.json``.
        without: keys of ``train.json`` of its family that it does not have.
        new_keys: descriptions of the keys that no other bundle has.
        paper: overrides of ``paper.json``.
        metadata: entries of ``metadata.json`` that are its own.
        data_terms: terms of the data sets it is made for, for ``docs/data_license.txt``.
        changes: by file, entries that differ from its family's, by key (``#`` separates nested ones) or `REMOVED`.
    """

    family: ClassVar[str]
    #: keys of inference and evaluation that the card of the trained network records
    card_keys: ClassVar[tuple[str, ...]] = ()

    name: str
    keys: Config
    inference_keys: Config = field(default_factory=dict)
    without: tuple[str, ...] = ()
    new_keys: Sequence[Key] = ()
    paper: Config
    metadata: Config = field(default_factory=dict)
    data_terms: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @abstractmethod
    def family_configs(self) -> dict[str, Config]:
        """Configurations by name, before `changes`."""

    def describe(self) -> Config:
        """Entries of ``metadata.json`` that the family has, before `metadata`."""
        return {}

    @property
    def declared_keys(self) -> tuple[Key, ...]:
        """Descriptions of the keys that the registry does not have."""
        return tuple(self.new_keys)

    @property
    def registry(self) -> dict[str, Key]:
        """Descriptions of all keys by name, in the order of the files."""
        return REGISTRY | {key.name: key for key in self.declared_keys}

    @property
    def own_keys(self) -> Config:
        """Keys of ``train.json`` that its family does not have, or has with other defaults."""
        return self.keys

    @property
    def own_inference_keys(self) -> Config:
        """Keys of ``inference.json`` that its family does not have, or has with other defaults."""
        return self.inference_keys

    @property
    def train_keys(self) -> Config:
        """Keys of ``train.json`` with their defaults."""
        values = train_defaults(self.family) | self.own_keys
        return sort_keys({name: value for name, value in values.items() if name not in self.without}, self.registry)

    @property
    def infer_keys(self) -> Config:
        """Keys of ``inference.json`` with their defaults."""
        train = train_defaults(self.family) | self.own_keys
        own = {
            name: train[name] if value is AS_IN_TRAINING else value for name, value in self.own_inference_keys.items()
        }
        return sort_keys(inference_defaults(self.family, train | own) | own, self.registry)

    def from_card(self, keys: Config) -> Config:
        """Keys with the values that the network's card records, see `common.card`; the given ones where it has none."""
        return {name: recorded(name, value) if name in self.card_keys else value for name, value in keys.items()}

    def card_overrides(self) -> Config:
        """Overrides of ``evaluate.json`` that give keys the values of the network's card."""
        keys = {name: value for name, value in self.train_keys.items() if name in self.card_keys}
        return {**common.card(common.MODEL), **self.from_card(keys)}

    def configs(self) -> dict[str, Config]:
        """All configurations by name, ``metadata`` among them."""
        files = {
            "paper": self.paper,
            **self.family_configs(),
            "metadata": fill_metadata(self.describe() | self.metadata),
        }
        for name, changes in self.changes.items():
            for key, value in changes.items():
                _change(files[name], key, value)
        return files


def recorded(name: str, default: Any) -> str:
    """Expression of a key's value in the network's card, or of its default.

    Args:
        name: key.
        default: value without a card; an expression starts with ``$``.
    """
    text = default[1:] if isinstance(default, str) and default.startswith("$") else repr(default)
    if name in NULL_WHERE_UNUSED:  # recorded as null where the images have no such thing
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
