"""How a retina becomes a photograph: view, light, lens, sensor, file."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tools.phantoms.fields import blur
from tools.phantoms.strokes import Spots, draw_spots, make_spots


@dataclass(frozen=True)
class View:
    """Which part of the retina a photograph shows.

    Attributes:
        left: whether it is a left eye; the nose is then on the left of the picture.
        shape: height and width in pixels.
        circle: middle (x, y) and radius of the round field of view, in pixels.
        field: its diameter in degrees.
        look: point of the retina in the middle of the circle (2,), in degrees, see `Retina`.
        tilt: how far the eye is turned, in radians, counterclockwise.
    """

    left: bool
    shape: tuple[int, int]
    circle: tuple[float, float, float]
    field: float
    look: np.ndarray
    tilt: float

    @property
    def scale(self) -> float:
        """Pixels to a degree."""
        return 2 * self.circle[2] / self.field

    @property
    def matrix(self) -> np.ndarray:
        """Turns degrees on the retina (nasal, up) into pixels (right, down)."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        side = np.diag([-1.0 if self.left else 1.0, -1.0])
        return self.scale * np.array([[cosine, sine], [-sine, cosine]]) @ side

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map points of the retina (N, 2) in degrees to the picture, in pixels."""
        return (points - self.look) @ self.matrix.T + self.circle[:2]

    def spots(self, spots: Spots) -> Spots:
        """Map spots on the retina to the picture."""
        directions = np.stack([np.cos(spots.angles), np.sin(spots.angles)], axis=1) @ self.matrix.T
        return replace(
            spots,
            centres=self.to_pixels(spots.centres),
            radii=spots.radii * self.scale,
            angles=np.arctan2(directions[:, 1], directions[:, 0]),
        )

    def pixels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x and y (H, W) of every pixel from the middle of the circle, in radii of the circle."""
        height, width = self.shape
        centre_x, centre_y, radius = self.circle
        x = ((torch.arange(width) - centre_x) / radius).expand(height, width)
        return x, ((torch.arange(height) - centre_y) / radius)[:, None].expand(height, width)

    def degrees(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where on the retina every pixel lies, x and y (H, W) in degrees."""
        x, y = self.pixels()
        inverse = np.linalg.inv(self.matrix) * self.circle[2]
        (a, b), (c, d) = inverse.tolist()
        return a * x + b * y + float(self.look[0]), c * x + d * y + float(self.look[1])


@dataclass(frozen=True)
class Photo:
    """How the light fell and what lens, sensor and file made of it. Lengths in radii of the field of view.

    Attributes:
        exposure: gain of red, green and blue (3,).
        bright: where the light is brightest (2,).
        falloff: loss of light a radius away from there.
        slope: change of brightness across the field, right and down (2,).
        glare: strength, middle (x, y) and width of the veil of stray light.
        rim: strength, direction and angular width of the reflex along the edge, in radians.
        shadow: strength, direction and distance from the middle of the shadow of the iris.
        dust: dark specks on the lens.
        ghosts: bright specks, reflections in the lens.
        blur: sigma of the lens, in pixels.
        noise: standard deviation of the sensor's noise, full scale 1.
        noise_seed: seed of the noise.
        quality: of the JPEG file, 0 to 100.
    """

    exposure: np.ndarray
    bright: np.ndarray
    falloff: float
    slope: np.ndarray
    glare: tuple[float, float, float, float]
    rim: tuple[float, float, float]
    shadow: tuple[float, float, float]
    dust: Spots
    ghosts: Spots
    blur: float
    noise: float
    noise_seed: int
    quality: int


def sample_view(rng: np.random.Generator, left: bool, disc: np.ndarray, size: int) -> View:
    """Draw a view about `size` pixels wide of an eye with its disc at `disc` (2,), in degrees.

    Most are centred on the macula, some on the disc, some on neither.
    """
    width = round(size * rng.uniform(0.91, 1.18))
    crop = rng.choice(("full", "wide", "cropped"), p=(0.4, 0.3, 0.3))
    if crop == "wide":  # black bars left and right
        radius = width / 2 * rng.uniform(0.80, 0.95)
        height = round(2 * radius * rng.uniform(0.96, 1.03))
    else:
        radius = width / 2 * rng.uniform(0.96, 1.0)
        height = round(2 * radius * (rng.uniform(0.82, 0.93) if crop == "cropped" else rng.uniform(1.0, 1.06)))
    aim = rng.choice(("macula", "disc", "neither"), p=(0.7, 0.15, 0.15))
    middle = {"macula": np.array([4.0, 0.3]), "disc": disc, "neither": np.array([7.0, 0.0])}[aim]
    look = middle + rng.normal(0, {"macula": 2.0, "disc": 1.5, "neither": 4.5}[aim], 2)
    return View(
        left=left,
        shape=(height, width),
        circle=(width / 2 + rng.normal(0, 0.01 * width), height / 2 + rng.normal(0, 0.01 * height), radius),
        field=rng.uniform(42.0, 52.0),
        look=look,
        tilt=float(np.clip(rng.normal(0, 0.14), -0.35, 0.35)),
    )


def sample_photo(rng: np.random.Generator) -> Photo:
    """Draw light, lens and sensor; directions have nothing to do with the anatomy."""
    turns = rng.uniform(0, 2 * np.pi, 4)
    ways = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    glare_x, glare_y = ways[0] * rng.uniform(0, 0.7)
    return Photo(
        exposure=np.exp(rng.normal(0.08, 0.24)) * np.exp(rng.normal(0, (0.03, 0.04, 0.06))),
        bright=ways[1] * rng.uniform(0, 0.6),
        falloff=rng.uniform(0.15, 0.5),
        slope=ways[2] * rng.uniform(0, 0.22),
        glare=(rng.uniform(0, 0.14) * (rng.random() < 0.6), glare_x, glare_y, rng.uniform(0.25, 0.7)),
        rim=(rng.uniform(0.1, 0.5) * (rng.random() < 0.4), turns[3], rng.uniform(0.3, 1.0)),
        shadow=(rng.uniform(0.3, 0.8) * (rng.random() < 0.25), rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.0)),
        dust=make_spots(rng, rng.uniform(-0.9, 0.9, (rng.poisson(1.5), 2)), (0.005, 0.02), strength=(0.1, 0.35)),
        ghosts=make_spots(rng, rng.uniform(-0.8, 0.8, (rng.poisson(0.7), 2)), (0.006, 0.03), strength=(0.1, 0.4)),
        blur=rng.uniform(0.4, 0.95),
        noise=rng.uniform(0.005, 0.02),
        noise_seed=int(rng.integers(2**31)),
        quality=int(rng.integers(92, 97)),
    )


def expose(retina: torch.Tensor, view: View, photo: Photo) -> np.ndarray:
    """Turn a painted retina (3, H, W) into the picture a camera stores: uint8 (H, W, 3), black outside its field."""
    x, y = view.pixels()
    light = _light(x, y, photo)
    light *= 1 - draw_spots(view.shape, _on_lens(photo.dust, view), 1.0)
    colour = torch.from_numpy(photo.exposure.astype(np.float32))[:, None, None]
    picture = retina * light * colour
    stray = _stray(x, y, photo) + 0.6 * draw_spots(view.shape, _on_lens(photo.ghosts, view), 0.7)
    picture += stray * torch.tensor([0.75, 0.68, 0.55])[:, None, None]
    picture = blur(picture, [0.0, photo.blur, photo.blur])
    picture = torch.where(picture > 0.75, 0.75 + 0.25 * torch.tanh((picture - 0.75) / 0.25), picture)
    noise = np.random.default_rng(photo.noise_seed).standard_normal(picture.shape, dtype=np.float32)
    picture += photo.noise * (0.4 + picture.clamp(min=0).sqrt()) * torch.from_numpy(noise)
    inside = ((1 - (x * x + y * y).sqrt()) * view.circle[2] + 0.5).clamp(0, 1)
    return (picture * inside * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def to_jpeg(picture: np.ndarray, photo: Photo) -> bytes:
    """Encode a picture uint8 (H, W, 3); colours keep full resolution, as the smallest lesions are a pixel wide."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=photo.quality, subsampling=0)
    return buffer.getvalue()


def _on_lens(spots: Spots, view: View) -> Spots:
    radius = view.circle[2]
    return replace(spots, centres=spots.centres * radius + view.circle[:2], radii=spots.radii * radius)


def _light(x: torch.Tensor, y: torch.Tensor, photo: Photo) -> torch.Tensor:
    """Light that falls on every pixel (H, W), about 1."""
    (bright_x, bright_y), (right, down) = photo.bright.tolist(), photo.slope.tolist()
    light = 1 - photo.falloff * ((x - bright_x) ** 2 + (y - bright_y) ** 2) / 1.6
    light = light.clamp(min=0.2) * (1 + right * x + down * y)
    strength, way, distance = photo.shadow
    depth = x * float(np.cos(way)) + y * float(np.sin(way)) - distance
    return light * (1 - strength * torch.sigmoid(depth / 0.08))


def _stray(x: torch.Tensor, y: torch.Tensor, photo: Photo) -> torch.Tensor:
    """Light that reaches the sensor without the retina (H, W)."""
    strength, glare_x, glare_y, width = photo.glare
    stray = strength * (-((x - glare_x) ** 2 + (y - glare_y) ** 2) / (2 * width**2)).exp()
    strength, way, width = photo.rim
    apart = torch.atan2(y, x) - way
    apart = torch.atan2(apart.sin(), apart.cos())
    return stray + strength * (-((((x * x + y * y).sqrt() - 1) / 0.05) ** 2) - (apart / width) ** 2).exp()
