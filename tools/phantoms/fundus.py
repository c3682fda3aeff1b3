"""A set of generated photographs of the retina with grades of diabetic retinopathy, in the layout of EyePACS."""

import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from tools.phantoms.retina import Polygon, blots, grow_vessels, sample_lesions
from tools.phantoms.store import write_cases, write_table

VERSION = 3  # of the generator: a change of the images needs a new number, so that stored sets are written again

SHARES = (0.5, 0.15, 0.2, 0.1, 0.05)  # of the levels 0 to 4 among all eyes
LIKENESS = 0.85  # correlation of severity between the two eyes of a person
FIRST = 10  # number of the first patient, as in EyePACS
SIDES = ("left", "right")
FAIR, DARK = np.array([0.84, 0.46, 0.27]), np.array([0.56, 0.26, 0.12])  # colour of the retina
BLOOD, ARTERY = (0.42, 1.0, 0.95), (0.15, 0.55, 0.5)  # absorbed fraction of red, green and blue
FINE = 4  # subpixels along an edge, for antialiasing


class View(NamedTuple):
    """Visible part of the retina in a photograph (H, W): a round field with `centre` and `radius` in pixels.

    The field is `field` degrees wide about the point `look` (2,) of the retina; `tilt` is the rotation of the eye in
    radians. In a left eye the nose is on the left of the photograph.
    """

    left: bool
    shape: tuple[int, int]
    centre: np.ndarray
    radius: float
    field: float
    look: np.ndarray
    tilt: float

    @property
    def matrix(self) -> np.ndarray:
        """Matrix from degrees on the retina (nasal, up) to pixels (right, down)."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        side = np.diag([-1.0 if self.left else 1.0, -1.0])
        return 2 * self.radius / self.field * np.array([[cosine, sine], [-sine, cosine]]) @ side

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map points of the retina (N, 2) to pixels (x, y)."""
        return (points - self.look) @ self.matrix.T + self.centre

    def offsets(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x and y (H, W) of every pixel from the middle of the field of view, in its radii."""
        y, x = np.indices(self.shape, dtype=np.float32)
        return (x - self.centre[0]) / self.radius, (y - self.centre[1]) / self.radius

    def degrees(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the position of every pixel on the retina, x and y (H, W) in degrees."""
        (a, b), (c, d) = np.linalg.inv(self.matrix) * self.radius
        x, y = self.offsets()
        return (a * x + b * y + self.look[0]).astype(np.float32), (c * x + d * y + self.look[1]).astype(np.float32)

    def draw(self, polygons: Sequence[Polygon], soft: float = 0.0) -> np.ndarray:
        """Draw polygons antialiased, with edges `soft` pixels wide; returns coverage (H, W, 1), 0 to 1."""
        height, width = self.shape
        sheet = Image.new("L", (FINE * width, FINE * height))
        pen = ImageDraw.Draw(sheet)
        for corners, strength in sorted(polygons, key=lambda polygon: polygon[1]):
            pen.polygon((FINE * (self.to_pixels(corners) + 0.5)).ravel().tolist(), fill=round(255 * strength))
        cover = np.asarray(sheet.reduce(FINE), dtype=np.float32)[..., None] / 255
        return gaussian_filter(cover, (soft, soft, 0)) if soft else cover


def fundus_phantoms(folder: str, num_patients: int = 40, size: int = 288, seed: int = 0) -> str:
    """Write a folder of generated fundus photographs unless it exists.

    Every patient has two, ``10_left.jpeg`` and ``10_right.jpeg``, ``11_left.jpeg`` …, and ``trainLabels.csv`` holds
    the level of diabetic retinopathy (0 to 4) of each under ``image,level``. View, light and size differ between
    photographs, as between cameras.

    Args:
        folder: the data folder.
        num_patients: number of patients.
        size: width of a photograph in pixels, on average; heights are about the same.
        seed: random seed; the same seed gives the same bytes.

    Raises:
        InputError: if `folder` has other content or cannot be written.
    """
    recipe = {"phantoms": "fundus", "version": VERSION, "num_patients": num_patients, "size": size, "seed": seed}

    def write_patient(target: Path, patient: int) -> list[tuple[str, int]]:
        rows = []
        for side, level in enumerate(patient_levels(seed, patient)):
            name = f"{FIRST + patient}_{SIDES[side]}"
            (target / f"{name}.jpeg").write_bytes(fundus_photo(seed, patient, side, level, size))
            rows.append((name, level))
        return rows

    def finish(target: Path, rows: list) -> None:
        write_table(target / "trainLabels.csv", [("image", "level"), *chain.from_iterable(rows)])

    return write_cases(folder, recipe, write_patient, num_patients, finish)


def patient_levels(seed: int, patient: int) -> tuple[int, int]:
    """Return the levels of a patient's left and right eye; severity is spread evenly over the patients of a seed."""
    normal = NormalDist()
    rank = (np.random.default_rng(seed).random() + 0.6180339887 * patient) % 1
    severity = normal.inv_cdf(float(np.clip(rank, 1e-6, 1 - 1e-6)))
    own = np.random.default_rng((seed, patient, len(SIDES) + 1)).standard_normal(2)
    ranks = [normal.cdf(LIKENESS**0.5 * severity + (1 - LIKENESS) ** 0.5 * float(v)) for v in own]
    first, second = (int(np.searchsorted(np.cumsum(SHARES)[:-1], rank)) for rank in ranks)
    return first, second


def fundus_photo(seed: int, patient: int, side: int, level: int, size: int) -> bytes:
    """Draw a photograph (side 0: left) as a JPEG file; only its lesions depend on the level, 0 to 4."""
    # Numbers from 1: to the generator a trailing 0 is the same as nothing.
    person, rng = np.random.default_rng((seed, patient)), np.random.default_rng((seed, patient, side + 1))
    melanin, winding, calibre = person.random(), np.exp(person.normal(0, 0.4)), np.exp(person.normal(0, 0.1))
    colour = (FAIR + (DARK - FAIR) * melanin) * np.exp(person.normal(0, (0.04, 0.09, 0.12)))
    disc = rng.normal((15.5, 2.0), (0.8, 0.6))
    view = sample_view(rng, side == 0, disc, size)
    arteries, veins = (grow_vessels(rng, disc, winding, calibre * width) for width in (0.15, 0.2))
    lesion_rng = np.random.default_rng((seed, patient, side + 1, level + 1))
    lesions = sample_lesions(lesion_rng, level, disc, view.look, 0.43 * view.field)
    photo = _paint_ground(rng, view, colour * np.exp(rng.normal(0, 0.03, 3)), person.uniform(0.02, 0.06))
    _cover(photo, view.draw(_drusen(rng, person)), (0.95, 0.75, 0.45))
    _cover(photo, 0.85 * view.draw(lesions.exudates), (1.0, 0.92, 0.55))
    _paint_disc(rng, photo, view, disc, colour)
    dark = np.maximum(0.72 * view.draw([p.ribbon(lesions.beading) for p in veins]), 0.85 * view.draw(lesions.blood))
    bright = view.draw([p.ribbon() for p in arteries]) * (1 - dark)
    photo *= np.exp(-dark * np.array(BLOOD, dtype=np.float32) - bright * np.array(ARTERY, dtype=np.float32))
    _cover(photo, view.draw(lesions.wool, 1.0), (0.95, 0.88, 0.72))
    _cover(photo, 0.9 * view.draw(lesions.pools), colour * (0.5, 0.25, 0.3))
    return _expose(rng, photo, view)


def sample_view(rng: np.random.Generator, left: bool, disc: np.ndarray, size: int) -> View:
    """Draw a view about `size` pixels wide of an eye with its disc at `disc` (2,); most are centred on the macula."""
    width = round(size * rng.uniform(0.91, 1.18))
    radius = width / 2 * (rng.uniform(0.80, 0.95) if rng.random() < 0.3 else rng.uniform(0.96, 1.0))
    height = round(2 * radius * (rng.uniform(0.82, 0.93) if rng.random() < 0.3 else rng.uniform(0.98, 1.05)))
    centre = np.array([width, height]) * (0.5 + rng.normal(0, 0.01, 2))
    aims = ((4.0, 0.3), 2.0), (disc, 1.5), ((7.0, 0.0), 4.5)
    aim, spread = aims[int(rng.choice(3, p=(0.7, 0.15, 0.15)))]
    tilt = float(np.clip(rng.normal(0, 0.14), -0.35, 0.35))
    return View(left, (height, width), centre, radius, rng.uniform(42.0, 52.0), rng.normal(aim, spread), tilt)


def _cover(photo: np.ndarray, cover: np.ndarray, colour: Sequence[float]) -> None:
    """Blend a colour into the photograph (H, W, 3) with the opacity `cover` (H, W, 1)."""
    photo += cover * (np.asarray(colour, dtype=np.float32) - photo)


def _noise(rng: np.random.Generator, view: View, sigma: float) -> np.ndarray:
    """Draw blurred noise (H, W, 1) of unit spread; `sigma` in degrees."""
    field = gaussian_filter(rng.standard_normal(view.shape, dtype=np.float32), sigma * 2 * view.radius / view.field)
    return (field / field.std())[..., None]


def _paint_ground(rng: np.random.Generator, view: View, colour: np.ndarray, mottling: float) -> np.ndarray:
    """Paint pigment, vessels of the choroid and the macula (H, W, 3)."""
    x, y = (p[..., None] for p in view.degrees())
    away = x * x + 1.2 * y * y
    tone = mottling * (0.5 * _noise(rng, view, 0.4) + _noise(rng, view, 1.0)) + 0.07 * _noise(rng, view, 5.0)
    stripes = rng.uniform(0.0, 0.1) * (np.exp(-(_noise(rng, view, 0.75) ** 2) / 0.4) - 0.5)
    tone = tone + stripes * ((np.sqrt(away) - 3) / 9).clip(0, 1)
    macula = rng.uniform(0.22, 0.45) * (np.exp(-away / rng.uniform(2.6, 4.2) ** 2) + np.exp(-away / 1.2))
    return colour.astype(np.float32) * np.exp((tone - macula) * np.array([0.75, 1.05, 1.1], dtype=np.float32))


def _drusen(rng: np.random.Generator, person: np.random.Generator) -> list[Polygon]:
    """Draw drusen: pale dots that are not lesions of diabetes, with a number that varies between patients."""
    count = rng.poisson(person.choice((0.0, 2.0, 8.0), p=(0.4, 0.4, 0.2)))
    places = np.concatenate([rng.normal(0, 4.0, (count, 2)), rng.uniform(-20, 30, (rng.poisson(2.0), 2))])
    return blots(rng, places, (0.12, 0.4), strength=(0.15, 0.5))


def _paint_disc(rng: np.random.Generator, photo: np.ndarray, view: View, disc: np.ndarray, colour: np.ndarray) -> None:
    """Paint rim and cup of the optic disc."""
    rim = (0.5 * np.array([1.0, 0.76, 0.42]) + 0.75 * colour) * np.exp(rng.normal(0, (0.03, 0.06, 0.08)))
    size, tall = rng.uniform(2.6, 3.3), np.array([rng.uniform(0.82, 0.98), 1.0])
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = np.stack([np.cos(turn), np.sin(turn)], axis=1) * size * tall
    _cover(photo, 0.92 * view.draw([(disc + outline, 1.0)], 1.0), rim)
    cup = disc + size * rng.uniform((-0.35, 0.0), (0.1, 0.22)) + rng.uniform(0.25, 0.6) * outline
    _cover(photo, 0.8 * view.draw([(cup, 1.0)], 2.0), 0.55 * rim + (0.48, 0.47, 0.36))


def _expose(rng: np.random.Generator, photo: np.ndarray, view: View) -> bytes:
    """Simulate light, lens, sensor and file; the direction of light is independent of the anatomy."""
    x, y = (p[..., None] for p in view.offsets())
    (bx, by), (right, down), (gx, gy) = rng.uniform(-1, 1, (3, 2)) * [[0.4], [0.16], [0.5]]
    light = (1 - rng.uniform(0.15, 0.5) * ((x - bx) ** 2 + (y - by) ** 2) / 1.6).clip(0.2) * (1 + right * x + down * y)
    glare = rng.uniform(0, 0.14) * (rng.random() < 0.6) * np.exp(-((x - gx) ** 2 + (y - gy) ** 2) / 0.4)
    exposure = np.exp(rng.normal(0.08, 0.24) + rng.normal(0, (0.03, 0.04, 0.06)))
    photo = photo * light * exposure + glare * np.array([0.75, 0.68, 0.55])
    lens, noise = rng.uniform((0.4, 0.005), (0.95, 0.02))
    photo = gaussian_filter(photo.astype(np.float32), (lens, lens, 0))
    photo = np.where(photo > 0.75, 0.75 + 0.25 * np.tanh((photo - 0.75) / 0.25), photo)
    photo += noise * (0.4 + np.sqrt(photo.clip(0))) * rng.standard_normal(photo.shape, dtype=np.float32)
    inside = ((1 - np.sqrt(x * x + y * y)) * view.radius + 0.5).clip(0, 1)
    stored = (photo * inside * 255).round().clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()  # colours keep full resolution, as the smallest lesions are a pixel wide
    Image.fromarray(stored).save(buffer, "JPEG", quality=int(rng.integers(92, 97)), subsampling=0)
    return buffer.getvalue()
