"""Paint a retina as a camera with even light would see it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import grid_sample

from tools.phantoms.camera import View
from tools.phantoms.fields import blur
from tools.phantoms.lesions import Lesions
from tools.phantoms.retina import TEXTURE_CELLS, TEXTURE_EXTENT, Retina
from tools.phantoms.strokes import draw_segments, draw_spots
from tools.phantoms.vessels import Vessels

_BLOOD = (0.42, 1.0, 0.95)  # how much of red, green and blue it absorbs
_ARTERY = (0.15, 0.55, 0.5)
_BEAD = 1.3  # degrees from one swelling of a beaded vein to the next


def paint_retina(retina: Retina, lesions: Lesions, view: View) -> torch.Tensor:
    """Paint an eye.

    Args:
        retina: the eye.
        lesions: what is wrong with it.
        view: which part of it to show.

    Returns:
        Red, green and blue (3, H, W), about 0 to 1, without noise; the whole rectangle is painted.
    """
    place = view.degrees()
    picture = _background(retina, place)
    _cover(picture, 0.6 * draw_spots(view.shape, view.spots(retina.pigment), 0.6), (0.25, 0.13, 0.08))
    _cover(picture, draw_spots(view.shape, view.spots(retina.drusen), 0.8), (0.95, 0.75, 0.45))
    _paint_macula(picture, retina, place)
    _cover(picture, 0.85 * draw_spots(view.shape, view.spots(lesions.exudates), 0.4), (1.0, 0.92, 0.55))
    _paint_disc(picture, retina, place, view.scale)
    _paint_blood(picture, retina, lesions, view)
    _cover(picture, draw_spots(view.shape, view.spots(lesions.cotton_wool), 1.4), (0.95, 0.88, 0.72))
    pools = 0.9 * draw_spots(view.shape, view.spots(lesions.pools), 0.15)
    _cover(picture, pools, retina.colour * (0.5, 0.25, 0.3))
    return picture


def _cover(picture: torch.Tensor, cover: torch.Tensor, colour: Sequence[float]) -> None:
    """Blend a colour into the picture (3, H, W) where `cover` (H, W) says."""
    picture += cover * (torch.tensor(tuple(colour), dtype=torch.float32)[:, None, None] - picture)


def _absorb(picture: torch.Tensor, depth: torch.Tensor, colour: Sequence[float]) -> None:
    """Take light away from the picture (3, H, W), `depth` (H, W) times what each colour absorbs."""
    picture *= (-depth * torch.tensor(tuple(colour))[:, None, None]).exp()


def _background(retina: Retina, place: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Paint what lies behind the vessels (3, H, W): pigment, choroid, nerve fibres."""
    x, y = place
    person = retina.person
    grid = torch.stack(place, dim=-1)[None] / TEXTURE_EXTENT
    layers = grid_sample(_textures(retina)[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    fine, middle, coarse, stripes = layers
    away = (x * x + y * y).sqrt()
    stripes = person.choroid * ((-(stripes**2) / 0.4).exp() - 0.5) * ((away - 3) / 9).clamp(0, 1)
    tone = person.mottling * (0.5 * fine + middle) + 0.07 * coarse
    colour = torch.from_numpy(retina.colour.astype(np.float32))[:, None, None]
    change = (
        tone * torch.tensor([0.8, 1.0, 1.0])[:, None, None] + stripes * torch.tensor([0.7, 1.1, 1.2])[:, None, None]
    )
    return colour * change.exp() + _sheen(retina, place, fine) * torch.tensor([0.8, 1.0, 0.9])[:, None, None]


def _textures(retina: Retina) -> torch.Tensor:
    """Noise of three sizes and the pattern of the choroid's vessels (4, 150, 150), each of standard deviation 1."""
    cell = 2 * TEXTURE_EXTENT / TEXTURE_CELLS
    layers = []
    for noise, sigma in zip(torch.from_numpy(retina.texture), (0.4, 1.0, 6.0, 0.75), strict=True):
        layer = blur(noise[None], [0.0, sigma / cell, sigma / cell])[0]
        layers.append(layer / float(layer.numpy().std()))
    return torch.stack(layers)


def _sheen(retina: Retina, place: tuple[torch.Tensor, torch.Tensor], fine: torch.Tensor) -> torch.Tensor:
    """Reflex of the nerve fibres (H, W), thickest below and above the disc towards the macula."""
    x, y = place[0] - float(retina.disc[0]), place[1] - float(retina.disc[1])
    thick = (-((x + 3) ** 2) / 60 - (y.abs() - 5.5) ** 2 / 9).exp() * torch.where(y < 0, 1.0, 0.7)
    return retina.person.sheen * thick * (1 + 0.4 * fine)


def _paint_macula(picture: torch.Tensor, retina: Retina, place: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Darken the macula, most in the fovea, and paint the reflex of the foveal pit."""
    x, y = place
    depth, radius = retina.macula
    away = x * x + 1.2 * y * y
    _absorb(picture, depth * (-away / radius**2).exp(), (0.7, 1.1, 1.2))
    _absorb(picture, depth * (-away / 1.2).exp(), (0.4, 0.6, 0.6))
    picture += retina.reflex * (-away / 0.12).exp()


def _paint_disc(picture: torch.Tensor, retina: Retina, place: tuple[torch.Tensor, torch.Tensor], scale: float) -> None:
    """Paint the optic disc: halo, crescent on its temporal side, rim, cup."""
    x, y = ((p - float(c)) / float(r) for p, c, r in zip(place, retina.disc, retina.disc_radii, strict=True))
    turn = torch.atan2(y, x)
    first, second, size = retina.disc_outline.tolist()
    outline = 1 + size * ((2 * turn + first).sin() + 0.5 * (3 * turn + second).sin())
    away = (x * x + y * y).sqrt() / outline
    sharp = scale * float(retina.disc_radii.mean()) / 2.2  # the edge is about 2 pixels wide
    strength, reach = retina.crescent
    beside = (0.4 - (turn - 0.5).cos()).clamp(0, 1)  # temporal and a little below
    _cover(picture, strength * beside * ((reach - away) * sharp + 0.5).clamp(0, 1), (0.92, 0.66, 0.42))
    _cover(picture, 0.16 * (-((away - 1).clamp(min=0) ** 2) / 0.1).exp(), retina.disc_colour)
    rim = torch.from_numpy(retina.disc_colour.astype(np.float32))[:, None, None]
    rim = rim * (1 - 0.10 * x - 0.12 * (away - 0.6) ** 2)
    picture += 0.92 * ((1 - away) * sharp + 0.5).clamp(0, 1) * (rim - picture)
    cup_x, cup_y = retina.cup_shift.tolist()
    inner = ((x - cup_x) ** 2 + (y - cup_y) ** 2).sqrt()
    pale = 0.55 * retina.disc_colour + np.array([0.48, 0.47, 0.36])
    _cover(picture, 0.8 * ((retina.cup - inner) * 3 + 0.5).clamp(0, 1), pale)


def _paint_blood(picture: torch.Tensor, retina: Retina, lesions: Lesions, view: View) -> None:
    """Paint vessels, and bleedings in the same plane."""
    arteries, veins, reflex = _draw_tree(retina.vessels, lesions.beading, view)
    spots = 0.75 * draw_spots(view.shape, view.spots(lesions.microaneurysms))
    spots = torch.maximum(spots, 0.95 * draw_spots(view.shape, view.spots(lesions.haemorrhages), 0.5))
    spots = torch.maximum(spots, 0.8 * draw_spots(view.shape, view.spots(lesions.flames), 0.7))
    if lesions.new_vessels is not None:
        tufts = lesions.new_vessels
        spots = torch.maximum(spots, 0.85 * _draw(tufts, tufts.radii, np.ones(len(tufts.radii)), view))
    dark = torch.maximum(0.72 * retina.person.redness * veins, spots)
    _absorb(picture, arteries * (1 - 0.45 * reflex) * (1 - dark).clamp(min=0), _ARTERY)
    _absorb(picture, dark, _BLOOD)


def _draw_tree(tree: Vessels, beading: float, view: View) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw arteries, veins and the bright line along arteries, each (H, W)."""
    radii = tree.radii * (1 + beading * tree.veins * np.sin(2 * np.pi * tree.along / _BEAD))
    strength = (tree.radii / 0.12).clip(0, 1) ** 0.3
    arteries = _draw(tree, radii, strength * ~tree.veins, view)
    veins = _draw(tree, radii, strength * tree.veins, view)
    return arteries, veins, _draw(tree, 0.3 * radii, 1.0 * (~tree.veins & (tree.radii > 0.09)), view)


def _draw(tree: Vessels, radii: np.ndarray, strength: np.ndarray, view: View) -> torch.Tensor:
    use = strength > 0
    starts, ends = view.to_pixels(tree.starts[use]), view.to_pixels(tree.ends[use])
    return draw_segments(view.shape, starts, ends, radii[use] * view.scale, strength[use])
