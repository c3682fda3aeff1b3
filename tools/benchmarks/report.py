"""How benchmarks say their figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.files import write_json


def report(figures: Mapping[str, Mapping[str, Any]], output: str | None = None) -> None:
    """Print figures by part and name, a line each; with `output` also write them as JSON."""
    width = max(len(name) for values in figures.values() for name in values)
    for part, values in figures.items():
        for name, value in values.items():
            print(f"{part:12}  {name:{width}}  {f'{value:.3f}' if isinstance(value, float) else value}")
    if output is not None:
        write_json(output, figures)
