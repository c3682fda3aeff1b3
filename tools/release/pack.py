"""Reproducible zip archives of bundles."""

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

FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # earliest time of the format, used for all files
PLAIN_FILE = 0o100644 << 16


def archive_name(bundle: str | Path) -> str:
    """Return the name of a bundle's release without suffix: ``<name>_v<version>``."""
    return f"{Path(bundle).name}_v{read_metadata(Path(bundle))['version']}"


def archive_bytes(bundle: str | Path) -> bytes:
    """Return a reproducible zip archive: one folder, sorted names, no times or owners.

    Files are stored uncompressed, since builds of zlib differ, and images and weights are already compressed.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in release_files(bundle).items():
            entry = zipfile.ZipInfo(f"{Path(bundle).name}/{name}", FIRST_DAY)
            entry.create_system = 3  # Unix on all systems
            entry.external_attr = PLAIN_FILE
            archive.writestr(entry, path.read_bytes())
    return buffer.getvalue()


def pack_bundle(bundle: str | Path, out: str | Path, source: str = "") -> Path:
    """Write a bundle's archive, checksum, model card and entry of ``model_info.json``.

    ``model_info.json`` is the Model Zoo's list of releases, ``{"<name>_v<version>": {"checksum", "source"}}`` with the
    SHA-1 that its downloader compares. Entries of other bundles and versions are kept.

    Args:
        bundle: folder of the bundle.
        out: output folder.
        source: address of the download folder; empty for the file name only.

    Returns:
        Path of the archive.

    Raises:
        InputError: if `check_bundle` finds a problem, this version was released with other content, or the list of
            releases cannot be read.
    """
    problems = check_bundle(bundle)
    if problems:
        raise InputError(f"{problems[0]}{f' and {len(problems) - 1} more problems' if problems[1:] else ''}")
    out, name = Path(out), archive_name(bundle)
    content = archive_bytes(bundle)
    checksum = _sha1(content)
    listed, target = out / "model_info.json", out / f"{name}.zip"
    releases = _releases(listed)
    existing = _sha1(target.read_bytes()) if target.exists() else checksum
    _refuse_other(name, checksum, {listed: releases.get(name, {}).get("checksum", checksum), target: existing})
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    with atomic_write(out / f"{name}.zip.sha256") as temporary:
        temporary.write_text(f"{hashlib.sha256(content).hexdigest()}  {name}.zip\n", encoding="utf-8")
    with atomic_write(out / f"{name}.md") as temporary:
        temporary.write_text(model_card(bundle), encoding="utf-8")
    address = f"{source.rstrip('/')}/{name}.zip" if source else f"{name}.zip"
    write_json(listed, dict(sorted({**releases, name: {"checksum": checksum, "source": address}}.items())))
    return target


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def _releases(listed: Path) -> dict[str, dict[str, str]]:
    """Return the entries of ``model_info.json``; empty if it does not exist."""
    releases = read_json(listed) if listed.exists() else {}
    if not isinstance(releases, dict) or not all(isinstance(entry, dict) for entry in releases.values()):
        raise InputError(f"{listed}: expected JSON with an entry for each release, found something else")
    return releases


def _refuse_other(name: str, checksum: str, found: dict[Path, str]) -> None:
    """Raise `InputError` if this version was released with other content."""
    for place, one in found.items():
        if one != checksum:
            raise InputError(
                f"{name.rpartition('_v')[0]}: version: expected a new one, found {name} in {place} with other content; "
                "increase the version and update the changelog, or delete this file if it was never published"
            )
