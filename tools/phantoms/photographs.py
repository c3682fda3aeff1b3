"""A set of generated colour photographs of objects of eight classes, in the layout of ImageNet."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tools.phantoms.store import write_cases

VERSION = 2  # of the generator: a change of the images needs a new number, so that stored sets are written again

KINDS = ("ball", "checks", "crescent", "cross", "dots", "ring", "star", "stripes")


def photograph_phantoms(folder: str, num_per_class: int = 60, size: int = 96, seed: int = 0) -> str:
    """Write a folder of generated colour photographs in classes unless it exists.

    ``train/<class>/0000.jpeg`` … and ``val/<class>/0050.jpeg`` …; a sixth of each class, at least one photograph, is
    for validation. A photograph shows a few objects of its class on a background. The class
    determines outline and surface, but not colours and light. Sizes differ between photographs.

    Args:
        folder: the data folder.
        num_per_class: number of photographs of each class, training and validation together.
        size: shorter edge of a photograph in pixels, on average.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "photographs", "version": VERSION, "num_per_class": num_per_class, "size": size, "seed": seed}
    num_train = num_per_class - max(1, num_per_class // 6)

    def write_photograph(target: Path, case: int) -> None:
        number, kind = divmod(case, len(KINDS))
        path = target / ("train" if number < num_train else "val") / KINDS[kind] / f"{number:04d}.jpeg"
        path.write_bytes(make_photograph(seed, kind, number, size))

    folders = [f"{split}/{kind}" for split in ("train", "val") for kind in KINDS]
    return write_cases(folder, recipe, write_photograph, num_per_class * len(KINDS), subfolders=folders)


def make_photograph(seed: int, kind: int, number: int, size: int) -> bytes:
    """Draw a photograph of class `KINDS[kind]` as a JPEG file; its shorter edge has about `size` pixels."""
    # Numbers from 1, since the generator ignores a trailing 0.
    rng = np.random.default_rng((seed, kind + 1, number + 1))
    edges = np.round(size * rng.uniform(0.93, 1.08) * np.array([1.0, rng.uniform(1.0, 1.4)])).astype(int).tolist()
    shape = (edges[0], edges[1]) if rng.random() < 0.7 else (edges[1], edges[0])
    scene = _background(rng, shape)
    for middle, radius in _places(rng, shape):
        _paint_object(rng, scene, KINDS[kind], middle, radius)
    return _develop(rng, scene)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Draw a smooth field (H, W, 1) of about unit spread with `cells` hills along an edge."""
    coarse = Image.fromarray(rng.standard_normal((cells + 2, cells + 2), dtype=np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))[..., None]


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Paint a cloudy background (H, W, 3) that fades from one colour to another, with specks and scratches."""
    first = rng.uniform(0.4, 0.6) + rng.uniform(-0.15, 0.15, 3)
    scene = first + rng.uniform(-0.12, 0.12, 3) * (0.5 + 0.5 * _smooth(rng, shape, 2))
    scene = scene + sum(rng.uniform(0.005, 0.025) * _smooth(rng, shape, cells) for cells in (3, 5, 11, 24))
    y, x = np.indices(shape, dtype=np.float32)
    for _ in range(int(rng.integers(3, 10))):
        (down, right), turn = rng.uniform(0, shape), rng.uniform(0, np.pi)
        along = (x - right) * np.cos(turn) + (y - down) * np.sin(turn)
        across = (x - right) * np.sin(turn) - (y - down) * np.cos(turn)
        length, width = rng.uniform(1, 0.3 * min(shape)), rng.uniform(0.5, 1.8)
        inside = np.minimum(width - np.abs(across), length - np.abs(along))
        scene += 0.6 * _soft(inside, 1.0)[..., None] * (rng.uniform(0, 1, 3) - scene)
    return scene.astype(np.float32)


def _places(rng: np.random.Generator, shape: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
    """Draw middle (x, y) and radius of a few objects, 30 to 60 % of the shorter edge wide, in pixels."""
    widths = [rng.uniform(0.5, 0.6), *rng.uniform(0.3, 0.5, int(rng.integers(2, 5))).tolist()]
    places: list[tuple[np.ndarray, float]] = []
    for radius in (min(shape) * width / 2 for width in widths):
        for _ in range(20):
            middle = rng.uniform(0.85 * radius, np.array(shape[::-1]) - 0.85 * radius)
            if all(np.hypot(*(middle - other)) > 0.9 * (radius + size) for other, size in places):
                places.append((middle, radius))
                break
    return places


def _paint_object(rng: np.random.Generator, scene: np.ndarray, kind: str, middle: np.ndarray, radius: float) -> None:
    """Paint an object with its shadow, rotated, squeezed and lit from a side, in a dark and a light colour."""
    y, x = np.indices(scene.shape[:2], dtype=np.float32)
    turn, light, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.87, 1.0)
    right, down = (x - middle[0]) / radius, (y - middle[1]) / radius
    u = (right * np.cos(turn) + down * np.sin(turn)) / squeeze
    v = (down * np.cos(turn) - right * np.sin(turn)) * squeeze
    cover, tone = draw_motif(kind, rng, u, v, 1 / radius)
    shadow = np.roll(cover, np.round(0.12 * radius * np.array([np.sin(light), np.cos(light)])).astype(int), (0, 1))
    scene *= 1 - rng.uniform(0.1, 0.4) * shadow[..., None]
    colours = [rng.uniform(0.0, 0.15) + rng.uniform(0, 0.25, 3), rng.uniform(0.85, 1.0) - rng.uniform(0, 0.25, 3)]
    first, second = colours if rng.random() < 0.5 else colours[::-1]
    shade = 1 - rng.uniform(0.0, 0.25) * (right * np.cos(light) + down * np.sin(light))
    scene += cover[..., None] * ((first + tone[..., None] * (second - first)) * shade[..., None] - scene)


def _develop(rng: np.random.Generator, scene: np.ndarray) -> bytes:
    """Convert a scene (H, W, 3) to a JPEG file, with simulated light, sensor, lens and compression."""
    light = np.exp(rng.normal(0, 0.12)) + rng.uniform(0, 0.08) * _smooth(rng, scene.shape[:2], 2)
    noise = rng.uniform(0.005, 0.025) * rng.standard_normal(scene.shape, dtype=np.float32)
    stored = np.round(255 * np.clip(scene * light + noise, 0, 1)).astype(np.uint8)
    image = Image.fromarray(stored).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.7))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(70, 94)))
    return buffer.getvalue()


def draw_motif(
    kind: str, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, pixel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of the pixels by an object about the origin, and fraction of its second colour; both (H, W), 0 to 1.

    `x` and `y` (H, W) are positions; the object covers about -1 to 1; `pixel` is the width of a pixel.
    """
    draw = _SURFACES.get(kind, _BODIES.get(kind))
    if kind in _SURFACES:
        angle = np.arctan2(y, x)
        phases = [rng.uniform(0, 0.22 / n) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4)]
        inside, second = 0.86 + sum(phases) - np.hypot(x, y), draw(rng, x, y)  # a pebble with a pattern
    else:
        inside, second = draw(rng, x, y)
    return _soft(inside, pixel), second if kind == "ball" else _soft(second, pixel)


def _soft(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Convert a distance to an edge, positive inside, to a fraction of the pixel."""
    return np.clip(distance / pixel + 0.5, 0, 1)


Layers = tuple[np.ndarray, np.ndarray]  # distances to the edges of the object and of its second colour, positive inside


def _ball(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Layers:
    """A sphere lit from a side; its second layer is a fraction."""
    way, height = rng.uniform(0, 2 * np.pi), np.sqrt(np.clip(0.84**2 - x * x - y * y, 0, None))
    lit = 0.35 + (0.6 * (x * np.cos(way) + y * np.sin(way)) + 0.45 * height) / 0.84
    return 0.84 - np.hypot(x, y), np.clip(0.5 + 2.5 * (lit - 0.66), 0, 1)


def _ring(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Layers:
    """A tyre: a band with ribs across its rims."""
    half, ribs = rng.uniform(0.24, 0.3), int(rng.integers(14, 20))
    away = np.abs(np.hypot(x, y) - 0.72)
    return half - away, np.minimum(away - 0.62 * half, np.sin(ribs * np.arctan2(y, x)) * 0.72 / ribs)


def _star(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Layers:
    """Five points, each folded along its middle, light on one side and dark on the other."""
    sector, outer, inner = np.pi / 5, 1.25, rng.uniform(0.58, 0.66)
    radius, angle = np.hypot(x, y), np.arctan2(y, x) % (2 * sector) - sector
    along, beside = radius * np.cos(angle), radius * np.abs(np.sin(angle))
    corner_x, corner_y = inner * np.cos(sector), inner * np.sin(sector)
    inside = (outer - along) * corner_y - beside * (outer - corner_x)
    seams = np.minimum(beside, radius * np.sin(sector - np.abs(angle)))
    return inside / np.hypot(outer - corner_x, corner_y), np.sign(angle) * seams


def _cross(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Layers:
    """Two bars with a broad hem."""
    half = rng.uniform(0.34, 0.42)
    bars = [np.minimum(half - np.abs(a), 1.02 - np.abs(b)) for a, b in ((x, y), (y, x))]
    return np.maximum(*bars), np.maximum(*bars) - 0.36 * half


def _crescent(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Layers:
    """A moon with a marbled surface."""
    marble = np.zeros_like(x)
    for turn in rng.uniform(0, 2 * np.pi, 9):
        along = x * np.cos(turn) + y * np.sin(turn)
        marble += np.sin(2 * np.pi * along / rng.uniform(0.34, 0.6) + rng.uniform(0, 2 * np.pi))
    bite = np.hypot(x + 0.3 - rng.uniform(0.54, 0.66), y) - 0.86
    return np.minimum(1.18 - np.hypot(x + 0.3, y), bite), 0.03 * marble


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period, bend = rng.uniform(0.38, 0.55), rng.uniform(0, 0.06) * np.sin(3 * y + rng.uniform(0, 2 * np.pi))
    return period / (2 * np.pi) * np.sin(2 * np.pi * (x + bend) / period)


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    period = rng.uniform(0.6, 0.85)
    waves = [np.sin(2 * np.pi * (p / period + rng.random())) for p in (x, y)]
    return period / (2 * np.pi) * np.sign(waves[0] * waves[1]) * np.minimum(*np.abs(waves))


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Round spots in staggered rows."""
    step = rng.uniform(0.44, 0.58)
    row = np.floor(y / (0.87 * step) + 0.5)
    right = x / step + 0.5 * (row % 2)
    return rng.uniform(0.32, 0.36) * step - np.hypot((right - np.floor(right + 0.5)) * step, y - row * 0.87 * step)


_BODIES = {"ball": _ball, "crescent": _crescent, "cross": _cross, "ring": _ring, "star": _star}
_SURFACES = {"checks": _checks, "dots": _dots, "stripes": _stripes}
