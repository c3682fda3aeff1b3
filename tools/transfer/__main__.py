"""Command line of the export: ``python -m tools.transfer export --model …/model.pt --to nnunet --out encoder.pth``."""

from __future__ import annotations

import logging

import fire

from tools.transfer.formats.export import export_for
from tools.utils.errors import InputError
from tools.utils.excepthook import install_excepthook


def export(
    model: str | None = None,
    to: str | None = None,
    out: str | None = None,
    out_channels: int | None = None,
    **unknown: object,
) -> None:
    """Write an encoder for another tool, see `export_for`.

    Args:
        model: ``model.pt`` of a run, with its card next to it.
        to: ``nnunet``, ``monai`` or ``half``.
        out: file to write.
        out_channels: output channels of the MONAI network.
        unknown: unknown options, which Fire would only report at the end.

    Raises:
        InputError: if an option is missing or unknown; see also `export_for`.
    """
    install_excepthook()
    logging.disable(logging.INFO)  # MONAI logs its arguments
    if unknown:
        raise InputError(f"--{next(iter(unknown))}: expected --model, --to, --out or --out_channels")
    missing = [f"--{name}" for name, value in (("model", model), ("to", to), ("out", out)) if value is None]
    if missing:
        raise InputError(f"expected --model FILE --to nnunet, monai or half --out FILE, found no {', '.join(missing)}")
    print("\n".join(export_for(str(to), str(model), str(out), out_channels)))


if __name__ == "__main__":
    fire.Fire({"export": export})
