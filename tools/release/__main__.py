"""Command line of the release: ``python -m tools.release --bundle bundles/<name> --out dist``."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import fire

from tools.bundles.generate import is_generated
from tools.release.checks import check_bundle
from tools.release.contents import CODE
from tools.release.network import script_problems, shape_problems
from tools.release.pack import pack_bundle
from tools.release.weights import excluded_weights_note, weights_note
from tools.utils.errors import InputError
from tools.utils.excepthook import install_excepthook


def main(
    bundle: str | None = None,
    all: bool = False,
    out: str = "dist",
    source: str = "",
    trust: bool = False,
    **unknown: object,
) -> None:
    """Check bundles and write their zip archives; exits with code 1 and one line per problem on failure.

    Args:
        bundle: folder of a bundle.
        all: whether to release all bundles of the repository.
        out: output folder for archives, checksums, model cards and ``model_info.json``.
        source: download address of the archives, for ``model_info.json``.
        trust: whether to evaluate configurations that `tools.bundles` did not generate, which can run any code.
        unknown: unknown options, which Fire would only report at the end.

    Raises:
        InputError: if neither or both of `bundle` and `all` are given, an option is unknown, or `out` is not writable.
    """
    install_excepthook()
    logging.disable(logging.INFO)  # MONAI logs its arguments
    if unknown:
        raise InputError(f"--{next(iter(unknown))}: expected --bundle, --all, --out, --source or --trust")
    if (bundle is None) != all:
        raise InputError("expected --bundle FOLDER or --all, found neither or both")
    existing = next(path for path in (Path(str(out)), *Path(str(out)).resolve().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"--out: expected a writable folder, found {existing}")
    if all:
        folders = sorted(path.parents[1] for path in CODE.parent.glob("bundles/*/configs/metadata.json"))
    else:
        folders = [Path(str(bundle)).resolve()]  # Fire converts digits to numbers
    problems = [problem for folder in folders for problem in release(folder, str(out), source, trust)]
    if problems:
        raise SystemExit("\n".join(f"error: {problem}" for problem in problems))


def release(bundle: Path, out: str, source: str, trust: bool = False) -> list[str]:
    """Check a bundle and write its archive; returns the problems.

    Checks that evaluate the configurations come last, and only for generated or trusted ones.
    """
    problems = check_bundle(bundle)
    if not problems and not trust and not is_generated(bundle):
        problems = [
            f"{bundle.name}: expected the configurations that python -m tools.bundles generates, found others, which "
            "can run any code; pass --trust True if you trust their source"
        ]
    problems = problems or [*shape_problems(bundle), *script_problems(bundle)]
    if problems:
        return problems
    try:
        archive = pack_bundle(bundle, out, source)
    except InputError as error:
        return [str(error)]
    size = archive.stat().st_size / 1024**2
    print(f"{archive}: {size:.1f} MB, {weights_note(bundle)}{excluded_weights_note(bundle)}")
    return []


if __name__ == "__main__":
    fire.Fire(main)
