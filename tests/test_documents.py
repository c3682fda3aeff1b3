"""Links, commands and citations of the repository's pages."""

import json
import re
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import tools
from tools.bundles.collection import all_keys, bundle_names, read_bundle
from tools.bundles.pretext import Pretext

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md", *ROOT.glob("tools/*/README.md")]
PAGES += ROOT.glob("bundles/*/docs/*.md")
#: packages whose pages name options of other programs within a sentence
PROGRAMS = {"benchmarks", "label", "release", "transfer", ".github"}
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def fenced(text):
    """Lines of the code blocks."""
    return [line for block in re.split(r"^```.*\n", text, flags=re.M)[1::2] for line in block.splitlines()]


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


@EACH
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@EACH
def test_commands_name_files_modules_and_keys_that_exist(page):
    text = page.read_text(encoding="utf-8")
    for line in fenced(text):
        files = re.findall(r"bundles/\w+/configs/\w+\.json", line)
        assert all((ROOT / name).is_file() for name in files), line
        assert all(find_spec(name) for name in re.findall(r"-m (tools[\w.]*)", line)), line
        if "monai.bundle run" in line and files:
            known = {key for name in files for key in json.loads((ROOT / name).read_text(encoding="utf-8"))}
            words = set(re.findall(r"--(\w+)", line.partition("monai.bundle run")[2]))
            assert words <= known | {"config_file"}, line
    words = {word for span in re.findall(r"`(--[^`\n]+)`", text) for word in re.findall(r"--(\w+)", span)}
    assert page.parent.name in PROGRAMS or words <= all_keys().keys() | {"config_file"}


def test_the_readme_is_short_and_has_one_test_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    (command,) = [line for line in fenced(text) if "pytest" in line]
    assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install -r requirements.txt && ")


def test_every_bundle_and_every_package_with_a_page_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT).as_posix() for page in PAGES if page.name == "README.md" and page.parent != ROOT]
    assert [page for page in pages if f"({page})" not in text and f"({page}#" not in text] == []


def test_the_papers_of_the_pretraining_methods_are_cited():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    bundles = [bundle for bundle in map(read_bundle, bundle_names()) if isinstance(bundle, Pretext)]
    papers = {paper for bundle in bundles for paper in bundle.configs()["metadata"]["references"]}
    titles = re.findall(r'title: "(.+)"', text)
    assert len(papers) > 5
    assert [paper for paper in papers if not any(title in paper for title in titles)] == []
    assert f"\nversion: {tools.__version__}\n" in text


def test_api_pages_are_built_without_warnings(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed: pip install -r requirements.txt")
    spec = spec_from_file_location("api_pages", ROOT / ".github/api_pages.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.write_pages(tmp_path) == []
    packages = [path.parent for path in ROOT.glob("tools/*/__init__.py") if path.parent.name != "label"]
    assert all((tmp_path / f"tools/{package.name}.html").is_file() for package in packages)
