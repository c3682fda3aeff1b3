"""A set of generated colour photographs of things of eight kinds, laid out as ImageNet is."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from tools.phantoms.cases import for_each_case
from tools.phantoms.motifs import MOTIFS, draw_motif
from tools.phantoms.store import write_once

VERSION = 1  # of the generator: raise it when the pictures change, so that stored ones are made anew

KINDS = tuple(MOTIFS)
NEAREST = 0.9  # that two things may come to each other, middle to middle, in sums of their radii


def picture_phantoms(folder: str, num_per_class: int = 60, size: int = 96, seed: int = 0) -> str:
    """Make a folder of generated colour photographs in classes unless it is there already.

    ``train/<class>/0000.jpeg`` … and ``val/<class>/0050.jpeg`` …; a sixth of each class, at least one picture, is for
    validation. A picture shows a few things of its class before a background; outline and surface tell the class,
    colours and light do not. Sizes differ between pictures.

    Args:
        folder: where the files go.
        num_per_class: number of pictures of each class, training and validation together.
        size: shorter edge of a picture in pixels, on average.
        seed: seed of everything; the same seed gives the same bytes.

    Returns:
        `folder`.

    Raises:
        InputError: when `folder` holds other data or cannot be written.
    """
    recipe = {"phantoms": "pictures", "version": VERSION, "num_per_class": num_per_class, "size": size, "seed": seed}
    num_train = num_per_class - max(1, num_per_class // 6)

    def write_picture(target: Path, case: int) -> None:
        number, kind = divmod(case, len(KINDS))
        part = "train" if number < num_train else "val"
        path = target / part / KINDS[kind] / f"{number:04d}.jpeg"
        path.write_bytes(picture(seed, kind, number, size))

    def write(target: Path) -> None:
        for part in ("train", "val"):
            for kind in KINDS:
                (target / part / kind).mkdir(parents=True)
        for_each_case(partial(write_picture, target), num_per_class * len(KINDS), "picture phantoms")

    return write_once(folder, write, json.dumps(recipe))


def picture(seed: int, kind: int, number: int, size: int) -> bytes:
    """Make one picture as a JPEG file.

    Args:
        seed: seed of the set.
        kind: number of its class in `KINDS`.
        number: number of the picture in its class, from 0.
        size: shorter edge in pixels, on average.
    """
    # Numbers from 1 on: to the generator a trailing 0 is the same as nothing.
    rng = np.random.default_rng((seed, kind + 1, number + 1))
    edges = np.round(size * rng.uniform(0.93, 1.08) * np.array([1.0, rng.uniform(1.0, 1.4)])).astype(int).tolist()
    shape = (edges[0], edges[1]) if rng.random() < 0.7 else (edges[1], edges[0])
    scene = _background(rng, shape)
    _scatter(rng, scene, int(rng.integers(1, 4)), int(rng.integers(2, 8)))
    for middle, radius in _places(rng, shape):
        _put(rng, scene, KINDS[kind], middle, radius)
    _scatter(rng, scene, int(rng.integers(0, 2)), int(rng.integers(0, 4)))
    return _develop(rng, scene)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Draw a smooth field (H, W) of about unit spread with `cells` hills along an edge."""
    coarse = Image.fromarray(rng.standard_normal((cells + 2, cells + 2), dtype=np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of every pixel, to be broadcast."""
    height, width = (np.arange(edge, dtype=np.float32) for edge in shape)
    return width[None], height[:, None]


def _background(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Paint a lit, cloudy background (H, W, 3) that fades from one colour to another."""
    x, y = _grid(shape)
    turn = rng.uniform(0, 2 * np.pi)
    fade = 0.5 + (x / shape[1] - 0.5) * np.cos(turn) + (y / shape[0] - 0.5) * np.sin(turn)
    fade = np.clip(fade + rng.uniform(0.1, 0.25) * _smooth(rng, shape, 3), 0, 1)[..., None]
    first = (rng.uniform(0.4, 0.6) + rng.uniform(-0.15, 0.15, 3)).astype(np.float32)
    second = (first + rng.uniform(-0.12, 0.12, 3)).astype(np.float32)
    clouds = sum(rng.uniform(0.005, 0.025) * _smooth(rng, shape, cells) for cells in (5, 11, 24))
    return first + fade * (second - first) + clouds[..., None]


def _scatter(rng: np.random.Generator, scene: np.ndarray, lines: int, specks: int) -> None:
    """Draw thin lines and small specks over a scene."""
    height, width, _ = scene.shape
    x, y = _grid((height, width))
    for number in range(lines + specks):
        colour = rng.uniform(0, 1, 3).astype(np.float32)
        right, down, turn = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, np.pi)
        across = (x - right) * np.sin(turn) - (y - down) * np.cos(turn)
        along = (x - right) * np.cos(turn) + (y - down) * np.sin(turn)
        if number < lines:
            bend = along**2 * rng.uniform(-0.6, 0.6) / max(height, width)
            end = rng.uniform(0.1, 0.4) * min(height, width) - np.abs(along)
            inside = np.minimum(rng.uniform(0.3, 0.8) - np.abs(across + bend), end)
        else:
            inside = rng.uniform(0.5, 0.018 * min(height, width) + 0.6) - np.hypot(across, along)
        share = rng.uniform(0.3, 0.8) * np.clip(inside + 0.5, 0, 1)[..., None]
        scene += share * (colour - scene)


def _places(rng: np.random.Generator, shape: tuple[int, int]) -> list[tuple[np.ndarray, float]]:
    """Draw middle (x, y) and radius of a few things, 30 to 60 % of the shorter edge wide, in pixels."""
    edge, edges = min(shape), np.array(shape[::-1])
    widths = [rng.uniform(0.5, 0.6), *rng.uniform(0.3, 0.5, int(rng.integers(2, 5))).tolist()]
    places: list[tuple[np.ndarray, float]] = []
    for radius in (edge * width / 2 for width in widths):
        for _ in range(20):
            middle = rng.uniform(0.85 * radius, edges - 0.85 * radius)
            if all(np.hypot(*(middle - other)) > NEAREST * (radius + size) for other, size in places):
                places.append((middle, radius))
                break
    return places


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the two colours of a thing, one dark and one light, in either order."""
    dark = rng.uniform(0.0, 0.15) + rng.uniform(0, 0.25, 3)
    light = rng.uniform(0.85, 1.0) - rng.uniform(0, 0.25, 3)
    first, second = (dark, light) if rng.random() < 0.5 else (light, dark)
    return first.astype(np.float32), second.astype(np.float32)


def _put(rng: np.random.Generator, scene: np.ndarray, kind: str, middle: np.ndarray, radius: float) -> None:
    """Paint a thing with its shadow into a scene, turned, squeezed and lit from a side."""
    x, y = _grid(scene.shape[:2])
    turn, light, squeeze = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(0.87, 1.0)
    right, down = (x - middle[0]) / radius, (y - middle[1]) / radius
    u = (right * np.cos(turn) + down * np.sin(turn)) / squeeze
    v = (down * np.cos(turn) - right * np.sin(turn)) * squeeze
    share, tone = draw_motif(kind, rng, u.astype(np.float32), v.astype(np.float32), 1 / radius)
    shadow = np.roll(share, np.round(0.12 * radius * np.array([np.sin(light), np.cos(light)])).astype(int), (0, 1))
    scene *= 1 - rng.uniform(0.1, 0.4) * shadow[..., None]
    first, second = _colours(rng)
    shade = 1 - rng.uniform(0.0, 0.25) * (right * np.cos(light) + down * np.sin(light))
    surface = (first + tone[..., None] * (second - first)) * shade[..., None]
    scene += share[..., None] * (surface - scene)


def _develop(rng: np.random.Generator, scene: np.ndarray) -> bytes:
    """Turn a scene (H, W, 3) into a file: light, lens, sensor, JPEG."""
    light = np.exp(rng.normal(0, 0.12)) + rng.uniform(0, 0.08) * _smooth(rng, scene.shape[:2], 2)
    noise = rng.uniform(0.005, 0.025) * rng.standard_normal(scene.shape, dtype=np.float32)
    stored = np.round(255 * np.clip(scene * light[..., None] + noise, 0, 1)).astype(np.uint8)
    image = Image.fromarray(stored).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.7))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(rng.integers(70, 94)))
    return buffer.getvalue()
