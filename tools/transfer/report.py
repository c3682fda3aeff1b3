"""Report of loaded, adapted, skipped and missing tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["loaded", "adapted", "skipped", "missing"]
STATUSES: tuple[Status, ...] = ("loaded", "adapted", "skipped", "missing")


@dataclass(frozen=True)
class Entry:
    """Status of a tensor.

    Attributes:
        name: state dict key.
        status: ``loaded`` unchanged; ``adapted``, see `note`; ``skipped``, only in the file; ``missing``, only in the
            encoder.
        size: number of values.
        trained: whether the tensor is a parameter of the encoder and not, for example, a running statistic.
        note: description of the adaptation, or the different shapes.
    """

    name: str
    status: Status
    size: int
    trained: bool
    note: str = ""


@dataclass
class LoadReport:
    """Result of `tools.transfer.load_encoder`; its string is a table by top-level module.

    Attributes:
        source: weights file, and the encoder in its card.
        entries: status of each tensor of the encoder and the file.
        notes: recognised format, and renamed, permuted and excluded tensors.
        warnings: differences between the card and the present use.
    """

    source: str
    entries: list[Entry]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Percentage of the encoder's parameter values that are loaded from the file."""
        total = sum(e.size for e in self.entries if e.trained)
        return 100 * sum(e.size for e in self.entries if e.trained and e.status in ("loaded", "adapted")) / total

    def with_status(self, *statuses: Status) -> list[Entry]:
        """Return the entries with one of these statuses, in order."""
        return [e for e in self.entries if e.status in statuses]

    def __str__(self) -> str:
        """Return the table, the notes and the warnings."""
        modules = list(dict.fromkeys(e.name.partition(".")[0] for e in self.entries))
        width = max(len(m) for m in [*modules, "module"])
        lines = [f"encoder from {self.source}", *self.notes, _row(width, "module", ["values", *STATUSES])]
        for module in [*modules, None]:
            chosen = [e for e in self.entries if module in (None, e.name.partition(".")[0])]
            counts = [sum(e.status == status for e in chosen) for status in STATUSES]
            lines.append(_row(width, module or "total", [f"{sum(e.size for e in chosen):,}", *map(str, counts)]))
        lines += [f"{e.name} {e.status}: {e.note}" for e in self.entries if e.note]
        lines.append(f"{self.percent:.1f} % of the encoder's parameters initialised")
        return "\n".join(lines + [f"warning: {w}" for w in self.warnings])


def _row(width: int, name: str, cells: list[str]) -> str:
    return f"  {name:<{width}}  {cells[0]:>12}" + "".join(f"  {cell:>7}" for cell in cells[1:])
