"""Model card of a bundle for the Hugging Face Hub, from its metadata and documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import tools
from tools.release.contents import read_metadata
from tools.release.weights import origin_license, weights_note

HEADER = "---\nlibrary_name: monai\nlicense: {}\ntags:\n- monai\n- medical\n---\n"


def model_card(bundle: str | Path) -> str:
    """Return the model card as Markdown, with links to the figures in the bundle.

    The card of MONAI's ``push_to_hf_hub`` is ``docs/README.md`` only, without metrics, formats and licences, and with
    broken links to figures.
    """
    bundle = Path(bundle)
    metadata = read_metadata(bundle)
    pins = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    versions = {**{name: metadata[key] for name, key in pins.items()}, **metadata["required_packages_version"]}
    facts = {
        "Intended use": metadata["intended_use"],
        "Version": f"{metadata['version']}, code {tools.__version__}",
        "Weights": weights_note(bundle),
        "Data": metadata["data_source"],
        "Images": metadata["image_classes"],
        **{name: metadata[key] for name, key in _CLASSES.items() if key in metadata},
    }
    sections = [
        f"{HEADER.format(origin_license(bundle) or 'apache-2.0')}# {metadata['name']}\n\n{metadata['description']}",
        _table(["", ""], [[f"**{name}**", text] for name, text in facts.items()]),
        "## Network\n\n" + _formats(metadata["network_data_format"]),
        f"## Metrics\n\nOn {metadata['eval_metrics']['data']}:\n\n" + _metrics(metadata["eval_metrics"]),
        "## Install\n\n```\npip install " + " ".join(f"{k}=={v}" for k, v in versions.items()) + "\n```",
        "A MONAI bundle is a program: its configurations can run any code, so run those of sources you trust.",
        "## Licences\n\n" + (bundle / "docs/data_license.txt").read_text(encoding="utf-8").strip(),
        "## References\n\n" + "\n".join(f"- {one}" for one in metadata["references"]),
        _documentation(bundle),
    ]
    return "\n\n".join(sections) + "\n"


_CLASSES = {"Labels": "label_classes", "Predictions": "pred_classes"}


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def _formats(network_data_format: dict[str, Any]) -> str:
    """Format a table of the network's inputs and outputs."""
    rows = []
    for tensors in network_data_format.values():
        for name, form in tensors.items():
            channels = f"{form['num_channels']}: {', '.join(form['channel_def'].values())}"
            shape = "·".join(map(str, form["spatial_shape"])) or "none"
            values = " to ".join(f"{value:g}" for value in form["value_range"]) or "not bounded"
            rows.append([f"`{name}`", channels, shape, values, "patch" if form["is_patch_data"] else "image"])
    return _table(["", "channels", "shape", "values", "unit"], rows)


def _metrics(metrics: dict[str, Any]) -> str:
    """Format a table of the metrics with their intervals."""
    rows = []
    for name, value in metrics.items():
        if isinstance(value, int | float):
            interval = metrics.get(f"{name}_interval_95")
            extent = f"{interval[0]:g} to {interval[1]:g}" if interval and None not in interval else ""
            rows.append([name.replace("_", " "), f"{value:g}", extent])
    return _table(["", "", "95 % interval"], rows)


def _documentation(bundle: Path) -> str:
    """Return the bundle's README with headings one level lower and links relative to the bundle."""
    text = (bundle / "docs/README.md").read_text(encoding="utf-8").strip()
    text = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^]]+)\]\(\.\./\.\./[^)]+\)", r"\1", text)
    return re.sub(r"\]\((?!https?:|/|#)([^)]+)\)", r"](docs/\1)", text)
