"""A bundle as a zip: the same input gives the same bytes, on any machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

from tools.release.card import model_card
from tools.release.checks import check_bundle
from tools.release.contents import read_json, read_metadata, release_files
from tools.utils.errors import InputError
from tools.utils.files import atomic_write, write_json

FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of the format; no time stands in a release
PLAIN_FILE = 0o100644 << 16


def archive_name(bundle: str | Path) -> str:
    """Return the name of a bundle's release without its ending: ``<name>_v<version>``."""
    return f"{Path(bundle).name}_v{read_metadata(Path(bundle))['version']}"


def archive_bytes(bundle: str | Path) -> bytes:
    """Return the zip: one folder named like the bundle, names in order, no times, no owners.

    Stored, not compressed: builds of zlib differ in the bytes they write, and pictures and weights are dense already.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in release_files(bundle).items():
            entry = zipfile.ZipInfo(f"{Path(bundle).name}/{name}", FIRST_DAY)
            entry.create_system = 3  # Unix, wherever it is made
            entry.external_attr = PLAIN_FILE
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def pack_bundle(bundle: str | Path, out: str | Path, source: str = "") -> Path:
    """Write a bundle's zip, its checksum, model card and entry of ``model_info.json``.

    ``model_info.json`` is the Model Zoo's list of releases, ``{"<name>_v<version>": {"checksum", "source"}}``, with
    SHA-256 for the checksum; entries of other bundles and versions stay.

    Args:
        bundle: its folder.
        out: where the files go.
        source: address of the folder the zips will be downloaded from; empty for the file's name alone.

    Returns:
        the zip's path.

    Raises:
        InputError: `check_bundle` found something, this version was released with other content, or the list of
            releases cannot be read.
    """
    problems = check_bundle(bundle)
    if problems:
        raise InputError(f"{problems[0]}{f' and {len(problems) - 1} more problems' if problems[1:] else ''}")
    out, name = Path(out), archive_name(bundle)
    content = archive_bytes(bundle)
    checksum = hashlib.sha256(content).hexdigest()
    listed, target = out / "model_info.json", out / f"{name}.zip"
    releases = _releases(listed)
    there = hashlib.sha256(target.read_bytes()).hexdigest() if target.exists() else checksum
    _refuse_other(name, checksum, {listed: releases.get(name, {}).get("checksum", checksum), target: there})
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    with atomic_write(out / f"{name}.zip.sha256") as temporary:
        temporary.write_text(f"{checksum}  {name}.zip\n", encoding="utf-8")
    with atomic_write(out / f"{name}.md") as temporary:
        temporary.write_text(model_card(bundle), encoding="utf-8")
    address = f"{source.rstrip('/')}/{name}.zip" if source else f"{name}.zip"
    write_json(listed, dict(sorted({**releases, name: {"checksum": checksum, "source": address}}.items())))
    return target


def _releases(listed: Path) -> dict[str, dict[str, str]]:
    """Return the entries of ``model_info.json``; empty when there is none yet."""
    releases = read_json(listed) if listed.exists() else {}
    if not isinstance(releases, dict) or not all(isinstance(entry, dict) for entry in releases.values()):
        raise InputError(f"{listed}: expected JSON with an entry for each release, found something else")
    return releases


def _refuse_other(name: str, checksum: str, found: dict[Path, str]) -> None:
    """Raise an `InputError` for the first place where this version was released with other content."""
    for place, one in found.items():
        if one != checksum:
            raise InputError(
                f"{name.rpartition('_v')[0]}: version: expected a new one, found {name} in {place} with other content; "
                "raise the version and tell the changelog, or delete it there if it never left this machine"
            )
