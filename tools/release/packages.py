"""Check of the required packages of a bundle: imports of its code and configurations."""

from __future__ import annotations

import ast
import functools
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tools.release.contents import code_files, read_json, read_metadata, release_files

#: packages with a separate version field in metadata.json
OWN_FIELD = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
#: packages that are imported by another package, and the name in our code that requires it
THROUGH_OTHERS = {"nrrd": "NrrdReader", "tensorboard": "torch.utils.tensorboard", "einops": "SwinTransformer"}
#: optional packages, and the encoder that needs them; none for a download, which a release does not need
OPTIONAL = {"dynamic_network_architectures": "resenc", "einops": "swin", "huggingface_hub": ""}


def package_problems(bundle: Path) -> list[str]:
    """Compare ``required_packages_version`` with the imported packages."""
    metadata = read_metadata(bundle)
    declared = metadata.get("required_packages_version")
    declared = declared if isinstance(declared, dict) else {}  # otherwise another check reports it
    key = "configs/metadata.json: required_packages_version"
    encoder, problems, needed = _encoder_name(bundle), [], set()
    for module, place in sorted(imported_modules(bundle).items()):
        names = _distributions().get(module, [module])
        needed.update(names)
        if OPTIONAL.get(module, encoder) != encoder:
            continue
        own = [OWN_FIELD[name] for name in names if name in OWN_FIELD]
        if not any(name in metadata for name in own) and not any(name in declared for name in names):
            problems.append(f"{key}: expected {names[0]}, which {place} needs, found none")
    idle = sorted(set(declared) - needed)
    return problems + [f"{key}: expected imported packages, found {name}, which is not imported" for name in idle]


def _encoder_name(bundle: Path) -> str | None:
    """Return the name of the trained encoder; None without a card, or with an invalid one."""
    try:
        return read_json(bundle / "models/model.json")["encoder"]["name"]
    except (KeyError, TypeError):
        return None


def imported_modules(bundle: Path) -> dict[str, str]:
    """Return the third-party modules of a release, each with a file that imports it."""
    found = dict(_code_modules())
    for name, path in release_files(bundle).items():
        if name.startswith("configs/") and name.endswith(".json"):
            text = path.read_text(encoding="utf-8")
            words = re.findall(r'"\$(?:import|from) (\w+)|"_target_": "(\w+)\.', text)
            found |= {one or other: name for one, other in words if (one or other) not in found}
    return {module: place for module, place in found.items() if module not in {*sys.stdlib_module_names, "tools"}}


@functools.cache
def _code_modules() -> dict[str, str]:
    """Return the modules that the released code imports, each with a file."""
    found: dict[str, str] = {}
    for place, path in code_files().items():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {name.split(".")[0]: place for name in names if name.split(".")[0] not in found}
        found |= {module: place for module, word in THROUGH_OTHERS.items() if word in text and module not in found}
    return found


@functools.cache
def _distributions() -> dict[str, list[str]]:
    """Return the distributions of installed modules, for example ``pillow`` for ``PIL``."""
    return {module: sorted(set(names)) for module, names in packages_distributions().items()}
