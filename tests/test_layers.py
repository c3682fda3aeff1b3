"""Imports between the packages of `tools`: none from a package above, and no cycles between modules."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: packages from the lowest to the highest; packages in one line do not import each other
LAYERS = [
    {"utils"},
    {"networks", "phantoms"},
    {"transfer", "data"},
    {"transforms"},
    {"training"},
    {"segmentation", "classification"},
    {"detection"},
    {"pretext"},
    {"bundles"},
    {"shortcuts", "study", "release", "label", "benchmarks"},
]


def modules():
    paths = sorted(ROOT.glob("tools/**/*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(path, known):
    """Modules of `tools` that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tools":
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (inner & known) or {node.module}
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def graph():
    files = modules()
    return {name: set(imports(path, set(files))) - {name} for name, path in files.items()}


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in ROOT.glob("tools/*/__init__.py")}
    assert packages == set().union(*LAYERS)
    assert not {path.name for path in ROOT.glob("tools/*.py")} - {"__init__.py"}


def test_no_package_imports_from_one_above_or_beside():
    level = {package: height for height, packages in enumerate(LAYERS) for package in packages}
    pairs = [(name, target) for name, targets in graph().items() for target in targets]
    pairs = [(name, target) for name, target in pairs if "tools" not in (name, target)]
    packages = [(name.split(".")[1], target.split(".")[1]) for name, target in pairs]
    wrong = [
        pair for pair, (one, other) in zip(pairs, packages, strict=True) if one != other and level[one] <= level[other]
    ]
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    TopologicalSorter(graph()).prepare()
