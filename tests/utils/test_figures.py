"""Written figure files."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tools.utils import figures


@pytest.mark.parametrize("left", [0.4, -0.2], ids=["inside", "sticking out"])
def test_all_that_is_drawn_is_kept_and_a_margin_around_it(tmp_path, left):
    """A bar two inches long, inside a figure of four or half outside; the file stores the resolution."""
    figure = Figure(figsize=(4, 2))
    figure.add_artist(figures.Rectangle((left, 0.4), 0.5, 0.2, color=figures.BLUE, linewidth=0))
    figures.save(figure, tmp_path / "bar.png")
    image = Image.open(tmp_path / "bar.png")
    assert image.info["dpi"] == pytest.approx((figures.DPI, figures.DPI), abs=0.1)
    ink = (np.asarray(image.convert("RGB")) < 255).any(-1)
    across, down = ink.any(0), ink.any(1)
    assert across.sum() == pytest.approx(2 * figures.DPI, abs=2)
    assert down.sum() == pytest.approx(0.4 * figures.DPI, abs=2)
    for line in (across, down):
        assert line.argmax() == pytest.approx(figures.DPI / 10, abs=2)
        assert line[::-1].argmax() == pytest.approx(figures.DPI / 10, abs=2)


def test_drawings_of_lines_are_written_too(tmp_path):
    figure = Figure()
    figure.subplots().plot([1, 2])
    figures.save(figure, tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
