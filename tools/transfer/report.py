"""What became of every tensor when an encoder was loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["loaded", "adapted", "skipped", "missing"]
STATUSES: tuple[Status, ...] = ("loaded", "adapted", "skipped", "missing")


@dataclass(frozen=True)
class Entry:
    """One tensor.

    Attributes:
        name: key in the state dict.
        status: ``loaded`` as it was; ``adapted``, see `note`; ``skipped``, in the file and not used; ``missing``, in
            the encoder and not set.
        size: number of values.
        trained: whether it is a parameter of the encoder (not a running statistic, not skipped).
        note: how it was adapted, or both shapes where they differ.
    """

    name: str
    status: Status
    size: int
    trained: bool
    note: str = ""


@dataclass
class LoadReport:
    """The outcome of `tools.transfer.load_encoder`; as text, a table by top-level module.

    Attributes:
        source: the weights file and, where a contract says so, what it holds.
        entries: one per tensor of the encoder or the file.
        warnings: where the contract and the present use differ.
    """

    source: str
    entries: list[Entry]
    warnings: list[str] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Share of the encoder's parameter values set from the file, in percent."""
        total = sum(e.size for e in self.entries if e.trained)
        return 100 * sum(e.size for e in self.entries if e.trained and e.status in ("loaded", "adapted")) / total

    def having(self, *statuses: Status) -> list[Entry]:
        """Return the tensors of these statuses, in order."""
        return [e for e in self.entries if e.status in statuses]

    def __str__(self) -> str:
        """Return the table, what was adapted, and the warnings."""
        modules = list(dict.fromkeys(e.name.partition(".")[0] for e in self.entries))
        width = max(len(m) for m in [*modules, "module"])
        lines = [f"encoder from {self.source}", _row(width, "module", ["values", *STATUSES])]
        for module in [*modules, None]:
            chosen = [e for e in self.entries if module in (None, e.name.partition(".")[0])]
            counts = [sum(e.status == status for e in chosen) for status in STATUSES]
            lines.append(_row(width, module or "total", [f"{sum(e.size for e in chosen):,}", *map(str, counts)]))
        lines += [f"{e.name} {e.status}: {e.note}" for e in self.entries if e.note]
        lines.append(f"{self.percent:.1f} % of the encoder's parameters initialised")
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])


def _row(width: int, name: str, cells: list[str]) -> str:
    return f"  {name:<{width}}  {cells[0]:>12}" + "".join(f"  {cell:>7}" for cell in cells[1:])
