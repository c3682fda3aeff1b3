"""Chest, abdomen and pelvis in CT; z to the head, y to the back, x to the person's left, in mm."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from tools.phantoms.canvas import Canvas, Points, ellipsoid, rod, smooth_field, smooth_union

AIR, GAS = -1000.0, -880.0
HALF = (112.0, 165.0)  # half axes of the skin along y and x, without the individual fat
INF = np.inf

#: Hounsfield units by tissue and their spread between people
HU = {
    "skin": (20.0, 10.0), "fat": (-104.0, 6.0), "muscle": (57.0, 6.0), "cortical": (520.0, 60.0),
    "marrow": (195.0, 30.0), "lung": (-855.0, 20.0), "liver": (112.0, 10.0), "spleen": (122.0, 8.0),
    "cortex": (180.0, 15.0), "medulla": (142.0, 14.0), "fluid": (10.0, 4.0), "blood": (148.0, 20.0),
    "wall": (88.0, 10.0), "disc": (82.0, 8.0), "pancreas": (96.0, 9.0),
}  # fmt: skip
#: tissues that lesions grow in; their position is the code in the map of hosts, 0 is everything else
HOSTS = ("other", "fat", "muscle", "under skin", "bone", "lung", "liver", "kidney")


class View(NamedTuple):
    """Content of a slice: the region, the tissue of its first lesion, and its middle (z, y, x) in mm."""

    region: str
    host: str
    middle: tuple[float, float, float]


#: coarse lesion type: region, host tissue, middle (z, y, x) of the slice and how far it varies; one is drawn
VIEWS = {
    1: (
        ("chest", "bone", (0, 38, 0), (28, 10, 18)), ("abdomen", "bone", (-10, 38, 0), (28, 10, 18)),
        ("pelvis", "bone", (-105, 35, 62), (15, 10, 10)),
    ),
    2: (("abdomen", "fat", (-20, -18, 40), (28, 12, 22)),),
    3: (("chest", "fat", (0, 0, 8), (28, 12, 12)),),
    4: (("abdomen", "liver", (52, -8, -72), (16, 14, 14)),),
    5: (("chest", "lung", (0, -2, 76), (28, 22, 14)),),
    6: (("abdomen", "kidney", (-18, 38, 62), (20, 8, 8)),),
    7: (
        ("chest", "muscle", (0, 66, 70), (28, 8, 14)), ("abdomen", "under skin", (-10, 70, 84), (28, 8, 10)),
        ("pelvis", "muscle", (-105, 62, 72), (15, 8, 10)),
    ),
    8: (("pelvis", "fat", (-105, -12, 40), (15, 12, 14)),),
}  # fmt: skip


def sample_view(rng: np.random.Generator, kind: int) -> View:
    """Draw the content of a slice with a lesion of coarse type `kind` (1 to 8); the liver is on the right side only."""
    region, host, middle, spread = VIEWS[kind][int(rng.integers(len(VIEWS[kind])))]
    z, y, x = (np.array(middle) + rng.uniform(-1, 1, 3) * spread).tolist()
    return View(region, host, (z, y, x if kind == 4 or rng.random() < 0.5 else -x))


class Slab(Canvas):
    """Canvas (2, D, H, W) of Hounsfield units and codes of `HOSTS`: air, then wall and inside of a person's trunk.

    Coordinates z, y and x in mm are (D, H, W), or of size 1 along other axes. `half` are the half axes of the muscles'
    surface along y and x, `inner` the distance to the inside of the wall.
    """

    def __init__(self, rng: np.random.Generator, points: Points, edge: float, half: tuple[float, float]) -> None:
        self.rng = rng
        self.hu = {name: float(rng.normal(*spread)) for name, spread in HU.items()}
        self.sides = (*points[:2], points[2].abs())
        volume = torch.zeros(2, *torch.broadcast_shapes(*(p.shape for p in points)))
        volume[0] = AIR
        super().__init__(points, volume, edge)
        muscle, fat = ellipsoid(points, (0, 0, 0), (INF, *half)), rng.uniform(8.0, 30.0)
        self.inner = muscle + 11
        self.layers(muscle - fat, (0, "skin"), (2.5, "fat", "under skin"))
        self.layers(muscle, (0, "muscle", "muscle"), (11, "fat", "fat"))
        self.tubes("muscle", "muscle", (74, 34, 21, 27), both=True)

    def value(self, tissue: str | float, host: str = "other") -> torch.Tensor:
        """Return Hounsfield units and host code (2, 1, 1, 1) of a tissue."""
        units = self.hu[tissue] if isinstance(tissue, str) else float(tissue)
        return torch.tensor([units, float(HOSTS.index(host))])[:, None, None, None]

    def lay(self, distance: torch.Tensor, tissue: str | float, host: str = "other") -> None:
        """Paint a body with the values of a tissue or with Hounsfield units, optionally as a host of lesions."""
        self.paint(distance, self.value(tissue, host))

    def layers(self, distance: torch.Tensor, *layers: tuple[float, str | float, *tuple[str, ...]]) -> None:
        """Paint tissues from the surface of a body inwards, each by its depth in mm, tissue and host."""
        for depth, *tissue in layers:
            self.lay(distance + depth, *tissue)

    def tubes(self, tissue: str | float, host: str, *bodies: Sequence[float], both: bool = False) -> None:
        """Paint elliptic cylinders along z, given by centre and half axes along y and x, on `both` sides or one."""
        for y, x, tall, wide in bodies:
            self.lay(ellipsoid(self.sides if both else self.points, (0, y, x), (INF, tall, wide)), tissue, host)

    def bar(self, start: Sequence[float], end: Sequence[float], width: float) -> torch.Tensor:
        """Distance to plates along z between two lines (y, x), on both sides."""
        flat = (torch.zeros(1, 1, 1), *self.sides[1:])
        return rod(flat, (0, *start), (0, *end), width)


def paint_trunk(person: np.random.Generator, view: View, grid: Sequence[torch.Tensor]) -> torch.Tensor:
    """Paint Hounsfield units without noise and codes of `HOSTS` (2, D, H, W); codes between tissues are not integers.

    `grid` is z (D,), y (H,) and x (W,) in mm about the middle of the key slice.
    """
    scale = person.normal(0.95, 0.05) * person.normal(1.0, 0.03, 2)
    z, y, x = torch.meshgrid(*grid, indexing="ij")
    z, y, x = z[:, :1, :1], y[:1], x[:1]
    y, x = (
        p / float(s) + middle + 3.0 * smooth_field(person, (1, 6, 6), p.shape)
        for p, s, middle in zip((y, x), scale, view.middle[1:], strict=True)
    )
    slab = Slab(person, (z + view.middle[0], y, x), 1.2, (HALF[0] - 12, HALF[1] - 20))
    {"chest": _paint_chest, "abdomen": paint_abdomen, "pelvis": _paint_pelvis}[view.region](slab)
    return slab.volume


def _paint_spine(slab: Slab) -> None:
    """Paint vertebrae with discs between them, the canal and the processes."""
    arch = torch.minimum(slab.bar((58, 16), (70, 26), 5), slab.bar((70, 26), (84, 3), 4))
    slab.lay(torch.minimum(arch, slab.bar((84, 0), (100, 0.1), 3.5)), "cortical")
    slab.lay(arch + 2, "marrow")
    body = ellipsoid(slab.points, (0, 44, 0), (INF, 19, 24))
    slab.layers(body, (0, "cortical"), (2, "marrow", "bone"))
    slab.lay(torch.maximum(body, ((slab.points[0] / 34) % 1 - 0.5).abs() * 34 - 4.5), "disc")
    slab.tubes("fluid", "other", (71, 0, 7.5, 9))


def _paint_ribs(slab: Slab, lowest: float) -> None:
    """Paint ribs that slope down to the front; `lowest` is the lowest height, which is higher at the sides."""
    z, y, x = slab.sides
    slope = ((z - 0.5 * y - 0.25 * x) / 30) % 1 - 0.5
    rib = (((slab.inner - 5) / 0.7) ** 2 + (30 * slope) ** 2).sqrt() - 6.5
    rib = torch.stack(torch.broadcast_tensors(rib, 12 - x, lowest + 0.5 * x - z)).amax(0)
    slab.layers(rib, (0, "cortical"), (2.2, "marrow"))


def _paint_streaks(slab: Slab, units: float, host: str, within: torch.Tensor) -> None:
    """Paint small vessels of a tissue in the region `within` (1, H, W)."""
    before, value = slab.volume.clone(), slab.value(units, host)
    centre = [float(p.mean()) for p in slab.points]
    for _ in range(int(slab.rng.integers(18, 30))):
        middle, way = slab.rng.uniform(-75, 75, 3) * (0.15, 1, 1) + centre, slab.rng.standard_normal(3)
        way *= slab.rng.uniform(10, 45) / np.linalg.norm(way)
        slab.paint_rod(middle - way, middle + way, slab.rng.uniform(0.6, 1.9), value)
    slab.volume.copy_(torch.where(within, slab.volume, before))


def _paint_loops(slab: Slab, count: int) -> None:
    """Paint loops of bowel before and below the pancreas, with content often as bright as soft tissue, fluid or gas."""
    for _ in range(count):
        start = slab.rng.uniform((-130, -68, -95), (-5, -15, 95))
        end = (start + slab.rng.normal(0.0, 28.0, 3)).clip((-160, -72, -95), (0, 10, 95))
        radius = slab.rng.uniform(9.0, 15.0)
        content = slab.rng.choice([slab.rng.uniform(60.0, 105.0), slab.rng.uniform(0.0, 40.0), GAS], p=[0.6, 0.3, 0.1])
        slab.paint_rod(start, end, radius, slab.value("wall"))
        slab.paint_rod(start, end, radius - 3.5, slab.value(content))


def _paint_chest(slab: Slab) -> None:
    """Paint lungs with vessels, ribs, spine, sternum, great vessels, bronchi and oesophagus."""
    (a, b), (c, d), (e, f), (g, h), (i, j), _ = slab.rng.normal(0.0, 4.0, (6, 2)).clip(-8, 8).tolist()
    _, y, x = slab.points
    lungs = torch.maximum(slab.inner + 2.5, 33 + 9 * torch.sin(y / 22 + i) - (x - 4).abs())
    slab.lay(lungs, "lung", "lung")
    _paint_streaks(slab, 0.3 * slab.hu["blood"] - 10, "lung", lungs < 0)
    _paint_ribs(slab, -INF)
    _paint_spine(slab)
    slab.layers(slab.bar((-92, 0), (-92, 14), 7), (0, "cortical"), (2, "marrow", "bone"))
    slab.tubes("blood", "other", (-40 + a, -4 + b, 16, 17), (-46 + c, 22 + d, 11, 15), (-30 + c, -28 + e, 9, 10))
    slab.tubes("blood", "other", (26 + g, 26, 12, 12))
    for side in (-15 + f, 17 + h):
        slab.tubes("wall", "other", (4 + e, side, 8, 8))
        slab.tubes(AIR, "other", (4 + e, side, 6.5, 6.5))
    slab.tubes("muscle", "other", (20, 2 + j, 7, 9))


def paint_abdomen(slab: Slab) -> None:
    """Paint lungs above the domes, spine, ribs, psoas, liver, spleen, stomach, kidneys, great vessels and bowel."""
    (a, b), (c, d), (e, f), *_ = slab.rng.normal(0.0, 4.0, (6, 2)).clip(-8, 8).tolist()
    z, y, x = points = slab.points
    _paint_streaks(slab, 40.0, "fat", slab.inner < 0)
    domes = z - 102 + 0.008 * (x.abs() - 60) ** 2 + 0.006 * y**2
    slab.lay(torch.maximum(slab.inner - 2, 3 - domes), "lung")
    slab.tubes("muscle", "muscle", (48, 38, 17, 15), both=True)
    _paint_spine(slab)
    _paint_ribs(slab, -20.0)
    belly = torch.maximum(slab.inner + 1, domes)
    right, left = ellipsoid(points, (58, -4, -70), (86, 88, 72)), ellipsoid(points, (66, -46, -2), (40, 40, 56))
    under = (52 + a + 0.75 * x + 0.15 * y - z) / 1.25  # the face towards bowel and stomach
    slab.lay(torch.maximum(torch.maximum(smooth_union(right, left, 16), under), belly), "liver", "liver")
    slab.lay(ellipsoid(points, (2, -46, -52), (26, 17, 13)), "fluid")  # gall bladder
    slab.lay(torch.maximum(ellipsoid(points, (48 + b, 28, 104), (46, 50, 30)), belly), "spleen")
    for side, height, shift in ((-1, -26 + c, d), (1, -10 + e, f)):
        kidney = (height, 44, 64 * side + shift)
        slab.lay(ellipsoid(points, kidney, (52, 23, 26)), "cortex", "kidney")
        slab.lay(ellipsoid(points, kidney, (42, 14, 17)), "medulla", "kidney")
        slab.lay(ellipsoid(points, (height, 44, 52 * side + shift), (22, 8, 12)), "fat")
    outlet = rod(points, (30, -46, 40), (18, -44, -22), (20.0, 13.0))
    stomach = torch.maximum(smooth_union(ellipsoid(points, (52, -32, 56), (44, 34, 36)), outlet, 12), belly)
    slab.layers(stomach, (0, "wall"), (5, slab.rng.uniform(15.0, 70.0)))
    slab.lay(torch.maximum(stomach + 5, y + slab.rng.uniform(48.0, 76.0)), GAS)
    slab.tubes("blood", "other", (17, 6, 10, 10))
    slab.tubes(slab.hu["blood"] - 15, "other", (14, -21, 11, 12))
    _paint_loops(slab, int(slab.rng.integers(28, 42)))


def _paint_pelvis(slab: Slab) -> None:
    """Paint the lower abdomen with the muscles of the hip, the wings of the hip bones and the bladder."""
    paint_abdomen(slab)
    slab.tubes("muscle", "muscle", (60, 76, 34, 46), both=True)
    wing = torch.minimum(slab.bar((60, 46), (34, 76), 11), slab.bar((34, 76), (-12, 108), 8))
    slab.layers(wing, (0, "cortical"), (2.2, "marrow", "bone"))
    slab.layers(ellipsoid(slab.points, (-110, -48, 0), (36, 26, 36)), (0, "wall"), (4, "fluid"))
