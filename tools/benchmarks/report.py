"""How benchmarks say their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.utils.files import write_json


def report(figures: Mapping[str, Mapping[str, Any]], output: str | None = None) -> None:
    """Print figures by part and name, a line each; with `output` also write them as JSON."""
    width = max(len(name) for values in figures.values() for name in values)
    for part, values in figures.items():
        for name, value in values.items():
            print(f"{part:12}  {name:{width}}  {f'{value:.3f}' if isinstance(value, float) else value}")
    if output is not None:
        write_json(output, figures)


def table(rows: Sequence[Mapping[str, Any]], output: str | None = None) -> None:
    """Print rows with equal names as a table; with `output` also write them as JSON."""
    lines = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    lines.insert(0, list(rows[0]))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    if output is not None:
        write_json(output, rows)
