"""HTML pages of the Python interface: ``python .github/api_pages.py [FOLDER]``, by default ``dist/api``.

pdoc writes a page for each package of ``tools``, and one for each module of a package that exports no names. A warning
is an error.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
import warnings
from pathlib import Path

import pdoc

ROOT = Path(__file__).parents[1]
#: packages whose modules import an optional dependency, by its name
OPTIONAL = {"monailabel": "tools.label"}
#: modules without functions and classes: descriptions of bundles
EXCLUDED = ("tools.bundles.collection.",)


def write_pages(folder: Path) -> list[str]:
    """Write the pages and return the warnings of pdoc.

    Args:
        folder: where ``index.html`` is written.
    """
    missing = tuple(package for module, package in OPTIONAL.items() if importlib.util.find_spec(module) is None)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        names = pdoc.extract.walk_specs(["tools"])
        names += [one.name for one in pkgutil.walk_packages([str(ROOT / "tools")], "tools.") if one.ispkg]
        names = [name for name in dict.fromkeys(names) if not name.startswith((*missing, *EXCLUDED))]
        pdoc.render.configure(docformat="google", show_source=False)
        pages = {name: pdoc.doc.Module.from_name(name) for name in names}
        for name, page in pages.items():
            path = folder / f"{name.replace('.', '/')}.html"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pdoc.render.html_module(page, pages), encoding="utf-8")
        (folder / "index.html").write_text(pdoc.render.html_index(pages), encoding="utf-8")
        (folder / "search.js").write_text(pdoc.render.search_index(pages), encoding="utf-8")
    return [str(one.message) for one in found if "pdoc" in Path(one.filename).parts]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist/api")
    found = write_pages(target)
    print(f"{target / 'index.html'}: {len(list(target.rglob('*.html')))} pages")
    if found:
        sys.exit("error: expected no warnings, found:\n" + "\n".join(found))
