"""What training may see beside micrographs: photographs that scikit-image ships, and textures made from a seed.

Neither is in validation or test. The photographs are read from scikit-image's folder where it is installed, without
importing it; nothing else here needs more than NumPy.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from microloftr.errors import ParameterError

if TYPE_CHECKING:
    from microloftr.data.micrographs import Micrograph

WIDER = ("none", "photographs", "textures", "both")
# In the public domain or CC0 by the licence that its docstring in skimage/data/_fetchers.py names. Its cell.png and
# ihc.png are left out, for they are validation micrographs here; so are those without a licence (moon, page, stereo).
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "retina.jpg", "rocket.jpg",
)  # fmt: skip
KINDS = ("grains", "cells", "fibres", "blobs", "fractal", "filaments", "lattice")
SIDE = 512  # of a texture, pixels
PER_KIND = 4
NOISE = 1.0  # grey levels of 255 that are laid over a texture, so that it has a noise of its own


def wider_micrographs(which: str, seed: int = 0) -> tuple["Micrograph", ...]:
    """The pictures of "none", "photographs", "textures" or "both", as micrographs of the split train.

    Raises ParameterError for another word, and for photographs where scikit-image is not installed.
    """
    if which not in WIDER:
        raise ParameterError(f"there are no wider pictures {which!r}; there are {', '.join(WIDER)}")
    made: tuple[Micrograph, ...] = ()
    if which in ("photographs", "both"):
        made += photographs()
    if which in ("textures", "both"):
        made += textures(seed)
    return made


def photographs() -> tuple["Micrograph", ...]:
    """The photographs in the installed scikit-image, by their own names."""
    from PIL import Image

    from microloftr.data.micrographs import Micrograph

    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise ParameterError("the photographs are scikit-image's, which is not installed; take textures or none")
    folder = Path(found.origin).parent / "data"
    made = []
    for name in PHOTOGRAPHS:
        if (folder / name).is_file():  # a release may ship fewer
            with Image.open(folder / name) as picture:
                pixels = np.array(picture.convert("L" if picture.mode in ("L", "I;16") else "RGB"))
            stem = name.partition(".")[0]
            made.append(Micrograph(f"photograph_{stem}", "train", f"photograph_{stem}", "photograph", pixels))
    if not made:
        raise ParameterError(f"{folder} holds none of scikit-image's photographs; take textures or none")
    return tuple(made)


def textures(seed: int = 0, per_kind: int = PER_KIND, side: int = SIDE) -> tuple["Micrograph", ...]:
    """`per_kind` textures side×side of each of KINDS; the same for the same seed."""
    from microloftr.data.micrographs import Micrograph

    made = []
    for number, kind in enumerate(KINDS):
        for k in range(per_kind):
            rng = np.random.default_rng((seed, number, k))
            pixels = texture(kind, rng, side)
            name = f"texture_{kind}_{k}"
            made.append(Micrograph(name, "train", name, "texture", pixels))
    return tuple(made)


def texture(kind: str, rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """One texture (side, side) of a kind, over most of the grey range, with a fine grain."""
    image = _MAKE[kind](rng, side)
    image = image + rng.uniform(0.02, 0.12) * image.std() / 0.2 * fractal(rng, side, 0.8)
    low, high = np.percentile(image, (0.5, 99.5))
    span = rng.uniform(0.55, 0.95)
    image = rng.uniform(0, 1 - span) + span * ((image - low) / max(high - low, 1e-6)).clip(0, 1)
    if rng.random() < 0.3:
        image = 1 - image
    return (255 * image + NOISE * rng.standard_normal(image.shape)).clip(0, 255).round().astype(np.uint8)


def fractal(rng: np.random.Generator, side: int, slope: float) -> np.ndarray:
    """Noise (side, side) of standard deviation 1 whose amplitude falls as frequency to the −slope."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = 1
    phases = np.exp(2j * np.pi * rng.random(frequency.shape))
    image = np.fft.irfft2(phases * rng.rayleigh(size=frequency.shape) * frequency**-slope, (side, side))
    return (image - image.mean()) / image.std()


def smoothed(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of `sigma` pixels, cyclic."""
    side = len(image)
    square = np.fft.fftfreq(side)[:, None] ** 2 + np.fft.rfftfreq(side) ** 2
    return np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2 * (np.pi * sigma) ** 2 * square), image.shape)


def _nearest(rng: np.random.Generator, side: int, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every pixel, seen along a warped grid: distance to the nearest and to the second of scattered points, and the
    nearest one's number."""
    cells = max(int(side / spacing), 3)
    step = side / cells
    points = (np.stack(np.meshgrid(*[np.arange(cells)] * 2, indexing="ij"), -1) + rng.random((cells, cells, 2))) * step
    bend = spacing * 0.12
    y, x = np.indices((side, side), dtype=float)
    y, x = y + bend * fractal(rng, side, 2.0), x + bend * fractal(rng, side, 2.0)
    row, column = np.floor(y / step).astype(int), np.floor(x / step).astype(int)
    first = np.full((side, side), np.inf)
    second, owner = first.copy(), np.zeros((side, side), dtype=int)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            r, c = (row + dy) % cells, (column + dx) % cells
            away_y = (y - points[r, c, 0] + side / 2) % side - side / 2
            away_x = (x - points[r, c, 1] + side / 2) % side - side / 2
            distance = np.hypot(away_y, away_x)
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            owner = np.where(nearer, r * cells + c, owner)
            first = np.where(nearer, distance, first)
    return first, second, owner


def _grains(rng: np.random.Generator, side: int) -> np.ndarray:
    """Etched grains: each of its own grey, with dark or no boundaries, some with twins (parallel bands)."""
    first, second, owner = _nearest(rng, side, rng.uniform(14, 60))
    grey = rng.random(owner.max() + 1)[owner]
    rim = np.exp(-(((second - first) / rng.uniform(1.5, 4)) ** 2))
    angle, pitch = rng.random(owner.max() + 1)[owner] * np.pi, rng.uniform(6, 14)
    y, x = np.indices((side, side))
    twins = (np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / pitch) > 0.5) & (grey > 0.6)
    return smoothed(0.6 * grey - rng.uniform(0, 0.8) * rim - 0.25 * twins, 0.8)


def _cells(rng: np.random.Generator, side: int) -> np.ndarray:
    """Tissue: membranes around cells with a nucleus each, of uneven content."""
    spacing = rng.uniform(22, 60)
    first, second, owner = _nearest(rng, side, spacing)
    membrane = np.exp(-(((second - first) / rng.uniform(1.5, 4)) ** 2))
    radius = spacing * rng.uniform(0.12, 0.32) * (0.6 + 0.8 * rng.random(owner.max() + 1))[owner]
    nucleus = 1 / (1 + np.exp((first - radius) / 0.8))
    inside = 0.15 * rng.random(owner.max() + 1)[owner] + 0.05 * fractal(rng, side, 1.0)
    nucleolus = 0.3 * nucleus * (fractal(rng, side, 1.2) > 1.2)
    return smoothed(rng.uniform(0, 0.8) * membrane + rng.uniform(0.3, 1) * nucleus + inside + nucleolus, 0.8)


def _fibres(rng: np.random.Generator, side: int) -> np.ndarray:
    """Bundles along a slowly turning direction: noise smeared along the flow."""
    angle = rng.random() * np.pi + 0.7 * fractal(rng, side, 2.2)
    image, total = np.zeros((side, side)), 0
    noise = smoothed(rng.standard_normal((side, side)), rng.uniform(1, 2.5))
    y, x = np.indices((side, side), dtype=float)
    for sign in (-1, 1):
        row, column = y.copy(), x.copy()
        for _ in range(int(rng.uniform(14, 30))):
            r, c = row.round().astype(int) % side, column.round().astype(int) % side
            image, total = image + noise[r, c], total + 1
            row, column = row + sign * 1.5 * np.sin(angle[r, c]), column + sign * 1.5 * np.cos(angle[r, c])
    return image / total / (image / total).std() * 0.2 * (1 + 0.5 * fractal(rng, side, 1.8))


def _blobs(rng: np.random.Generator, side: int) -> np.ndarray:
    """Particles or nuclei of many sizes on a quiet ground, some with a rim or a shade."""
    image, y, x = np.zeros((side, side)), *np.indices((side, side), dtype=float)
    for _ in range(int(rng.uniform(60, 260))):
        radius = np.exp(rng.uniform(np.log(2), np.log(24)))
        centre_y, centre_x, angle, ratio = rng.random(4) * (side, side, np.pi, 1)
        reach = int(2.2 * radius + 4)
        rows = slice(max(int(centre_y) - reach, 0), int(centre_y) + reach)
        columns = slice(max(int(centre_x) - reach, 0), int(centre_x) + reach)
        dy, dx = y[rows, columns] - centre_y, x[rows, columns] - centre_x
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        distance = np.hypot(along / (1 + ratio * 0.6), across * (1 + ratio * 0.6))
        body = 1 / (1 + np.exp((distance - radius) / 0.8))
        rim = np.exp(-(((distance - radius) / 1.5) ** 2))
        grey = rng.uniform(0.25, 1)
        image[rows, columns] = np.maximum(image[rows, columns], grey * (body + rng.choice((0, 0.4)) * rim))
    return image + rng.uniform(0.02, 0.1) * fractal(rng, side, 1.5)


def _fractal(rng: np.random.Generator, side: int) -> np.ndarray:
    """Rough surfaces, clouds and, where two are divided at a level, porous bodies."""
    image = fractal(rng, side, rng.uniform(1.0, 1.8))
    return np.tanh(4 * image) + 0.2 * fractal(rng, side, 1.0) if rng.random() < 0.4 else image


def _filaments(rng: np.random.Generator, side: int) -> np.ndarray:
    """A cytoskeleton: thin bright lines that wander, brighter where they cross."""
    image = np.zeros((side, side))
    steps = 2 * side
    for _ in range(int(rng.uniform(40, 140))):
        turn = np.cumsum(rng.standard_normal(steps) * rng.uniform(0.005, 0.05)) + rng.random() * 2 * np.pi
        start = rng.random(2) * side
        length = int(rng.uniform(0.2, 1) * steps)
        row = np.floor(start[0] + np.cumsum(0.7 * np.sin(turn)))[:length].astype(int) % side
        column = np.floor(start[1] + np.cumsum(0.7 * np.cos(turn)))[:length].astype(int) % side
        np.maximum.at(image, (row, column), rng.uniform(0.3, 1))
    thin = smoothed(image, rng.uniform(0.9, 1.4))
    return thin / thin.std() * 0.2 + rng.uniform(0, 0.1) * fractal(rng, side, 1.6)


def _lattice(rng: np.random.Generator, side: int) -> np.ndarray:
    """A repeated pattern with defects, on a ground that is not: bent rows, missing and bright sites, holes."""
    pitch, angle, skew = rng.uniform(9, 26), rng.random() * np.pi, rng.uniform(np.pi / 3, np.pi / 2)
    y, x = np.indices((side, side), dtype=float)
    bend = pitch * rng.uniform(0.1, 0.5)
    y, x = y + bend * fractal(rng, side, 2.2), x + bend * fractal(rng, side, 2.2)
    a = (x * np.cos(angle) + y * np.sin(angle)) / pitch
    b = (x * np.cos(angle + skew) + y * np.sin(angle + skew)) / pitch
    site = (np.floor(a).astype(int) * 73_856_093) ^ (np.floor(b).astype(int) * 19_349_663)
    chance = rng.random(4096)[site % 4096]
    shape = np.clip(np.cos(np.pi * (a % 1 - 0.5)) * np.cos(np.pi * (b % 1 - 0.5)), 0, 1) ** rng.uniform(0.5, 2)
    height = np.where(chance < 0.06, 0.1, np.where(chance > 0.93, 1.6, 0.85 + 0.3 * chance))
    return shape * height + rng.uniform(0.05, 0.25) * fractal(rng, side, 1.8)


_MAKE = {
    "grains": _grains,
    "cells": _cells,
    "fibres": _fibres,
    "blobs": _blobs,
    "fractal": _fractal,
    "filaments": _filaments,
    "lattice": _lattice,
}
