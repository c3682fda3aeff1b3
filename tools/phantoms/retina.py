"""What differs between two retinas, drawn in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.phantoms.strokes import Spots, join_spots, make_spots
from tools.phantoms.vessels import Vessels, grow_vessels

TEXTURE_EXTENT = 45.0  # degrees; textures cover a square from -45 to 45 degrees around the fovea
TEXTURE_CELLS = 150

_FAIR, _DARK = np.array([0.84, 0.46, 0.27]), np.array([0.56, 0.26, 0.12])  # red, green, blue without and with melanin
_DISC = np.array([1.0, 0.76, 0.42])


@dataclass(frozen=True)
class Person:
    """What the two eyes of a person share.

    Attributes:
        colour: red, green and blue of the background (3,), 0 to 1.
        mottling: contrast of the fine texture of the background.
        choroid: contrast of the large vessels that shine through from below.
        sheen: brightness of the nerve fibres' reflex, strong in the young.
        drusen: how many pale dots to expect.
        tortuosity: how far vessels wind about their course; about 1.
        calibre: width of the vessels; about 1.
        redness: how much darker veins are than arteries; about 1.
    """

    colour: np.ndarray
    mottling: float
    choroid: float
    sheen: float
    drusen: float
    tortuosity: float
    calibre: float
    redness: float


@dataclass(frozen=True)
class Retina:
    """One eye. Lengths in degrees of visual angle from the fovea: x towards the nose, y upwards; angles in radians.

    Attributes:
        person: what it shares with the other eye.
        colour: red, green and blue of its background (3,).
        disc: middle of the optic disc (2,).
        disc_radii: half its width and height (2,).
        disc_outline: phases (2,) and size of its irregularities.
        disc_colour: red, green and blue of its rim (3,).
        cup: size of the cup relative to the disc.
        cup_shift: where the cup lies in the disc (2,).
        crescent: strength of the pale crescent beside the disc, and how far out it reaches.
        macula: darkness of the macula, and its radius.
        reflex: brightness of the foveal reflex, 0 for none.
        vessels: the vessel tree.
        texture: white noise (4, 150, 150) of the background.
        drusen: pale dots.
        pigment: dark dots.
    """

    person: Person
    colour: np.ndarray
    disc: np.ndarray
    disc_radii: np.ndarray
    disc_outline: np.ndarray
    disc_colour: np.ndarray
    cup: float
    cup_shift: np.ndarray
    crescent: tuple[float, float]
    macula: tuple[float, float]
    reflex: float
    vessels: Vessels
    texture: np.ndarray
    drusen: Spots
    pigment: Spots


def sample_person(rng: np.random.Generator) -> Person:
    """Draw one person."""
    melanin = rng.random()
    colour = (_FAIR + (_DARK - _FAIR) * melanin) * np.exp(rng.normal(0, (0.04, 0.09, 0.12)))
    return Person(
        colour=colour,
        mottling=rng.uniform(0.02, 0.06),
        choroid=rng.uniform(0.0, 0.13) * (1.3 - 0.8 * melanin),
        sheen=max(0.0, rng.normal(0.02, 0.04)),
        drusen=float(rng.choice((0.0, 2.0, 8.0), p=(0.4, 0.4, 0.2))),
        tortuosity=float(np.exp(rng.normal(0, 0.4))),
        calibre=float(np.exp(rng.normal(0, 0.1))),
        redness=rng.uniform(0.8, 1.2),
    )


def sample_retina(rng: np.random.Generator, person: Person) -> Retina:
    """Draw one eye of a person."""
    disc = np.array([rng.normal(15.5, 0.8), rng.normal(2.0, 0.6)])
    height = rng.uniform(2.6, 3.3)
    return Retina(
        person=person,
        colour=person.colour * np.exp(rng.normal(0, 0.03, 3)),
        disc=disc,
        disc_radii=height * np.array([rng.uniform(0.82, 0.98), 1.0]),
        disc_outline=np.array([*rng.uniform(0, 2 * np.pi, 2), rng.uniform(0.01, 0.05)]),
        disc_colour=(0.5 * _DISC + 0.75 * person.colour) * np.exp(rng.normal(0, (0.03, 0.06, 0.08))),
        cup=rng.uniform(0.25, 0.6),
        cup_shift=np.array([rng.uniform(-0.35, 0.1), rng.uniform(0.0, 0.22)]),  # the rim is thickest below
        crescent=(rng.uniform(0.0, 0.5) * (rng.random() < 0.5), rng.uniform(1.08, 1.35)),
        macula=(rng.uniform(0.22, 0.45), rng.uniform(2.6, 4.2)),
        reflex=rng.uniform(0.05, 0.25) * (rng.random() < 0.4),
        vessels=grow_vessels(rng, disc, person.tortuosity * rng.uniform(0.85, 1.15), person.calibre),
        texture=rng.standard_normal((4, TEXTURE_CELLS, TEXTURE_CELLS), dtype=np.float32),
        drusen=_sample_drusen(rng, person),
        pigment=make_spots(rng, rng.uniform(-20, 30, (rng.poisson(1.0), 2)), (0.2, 0.7), strength=(0.1, 0.3)),
    )


def _sample_drusen(rng: np.random.Generator, person: Person) -> Spots:
    """Scatter pale dots about the macula, and a few anywhere."""
    near = make_spots(rng, rng.normal(0, 4.0, (rng.poisson(person.drusen), 2)), (0.12, 0.35), strength=(0.15, 0.5))
    far = make_spots(rng, rng.uniform(-20, 30, (rng.poisson(2.0), 2)), (0.12, 0.4), strength=(0.15, 0.5))
    return join_spots([near, far])
