"""The pair that `make match` shows: two fields of view of one bundled micrograph; `python -m microloftr.data.demo`.

Image 0 is in focus, seen without a filter. Image 1 is what a second microscope would give of the neighbouring field:
turned, a little larger, out of focus, through a red filter, unevenly lit and noisier. Where each field lies on the
micrograph is known, so the true homography is written beside the images (truth.json).
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from microloftr.data import appearance
from microloftr.data.micrographs import SPLITS, Micrograph, load_micrographs
from microloftr.errors import MicroLoFTRError, ParameterError
from microloftr.files import atomic_write, write_json
from microloftr.geometry import warp_image

WIDTH, HEIGHT = 480, 400
SOURCE = "brightfield_he_openslide_os1_tumour_1"
SEED = 7


@dataclass(frozen=True)
class Field:
    """Where a field of view lies on the micrograph and how it is taken.

    `centre` as shares of width and height, `rotation` in degrees, `zoom` in field pixels per micrograph pixel,
    `colours` the weights of red, green and blue, `defocus` σ in pixels, `light` the depth of uneven light.
    """

    centre: tuple[float, float]
    rotation: float
    zoom: float
    colours: tuple[float, float, float]
    exponent: float
    defocus: float
    light: float
    photons: float


FIELD_0 = Field((0.43, 0.42), -3.0, 1.02, (0.299, 0.587, 0.114), 1.0, 0.4, 0.04, 2500.0)
FIELD_1 = Field((0.555, 0.535), 16.0, 1.13, (0.85, 0.15, 0.0), 1.3, 1.5, 0.22, 400.0)


def field_to_micrograph(field: Field, width: int, height: int) -> np.ndarray:
    """The map (3, 3) of field pixels to pixels of a width×height micrograph: a similarity."""
    angle = np.deg2rad(field.rotation)
    matrix = np.eye(3)
    matrix[:2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / field.zoom
    centre = np.array([field.centre[0] * (width - 1), field.centre[1] * (height - 1)])
    matrix[:2, 2] = centre - matrix[:2, :2] @ ((WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    return matrix


def take_field(micrograph: Micrograph, field: Field, generator: torch.Generator) -> np.ndarray:
    """The picture uint8 (HEIGHT, WIDTH) of a field of view. Raises ParameterError where it leaves the micrograph."""
    height, width = micrograph.pixels.shape[:2]
    matrix = field_to_micrograph(field, width, height)
    corners = matrix @ [[0, WIDTH - 1, 0, WIDTH - 1], [0, 0, HEIGHT - 1, HEIGHT - 1], [1, 1, 1, 1]]
    if corners[:2].min() < 1 or (corners[0] > width - 2).any() or (corners[1] > height - 2).any():
        raise ParameterError(f"{micrograph.name} is {width}×{height} pixels; too small for the demo's fields of view")
    pixels = torch.from_numpy(micrograph.pixels).float() / 255
    grey = pixels @ torch.tensor(field.colours) if pixels.ndim == 3 else pixels
    image = warp_image(grey[None, None], torch.from_numpy(matrix)[None], HEIGHT, WIDTH, mode="bicubic").clamp(0, 1)
    image = appearance.blur(image, torch.tensor([field.defocus]))
    image = appearance.gamma(image, torch.tensor([field.exponent]))
    corner, across = 1 - field.light, 1 - field.light / 2
    light = torch.tensor([[across, 1.0, 1.0], [corner, across, 1.0], [corner - field.light / 3, corner, across]])
    image = appearance.uneven_light(image, light[None, None])
    image = appearance.sensor_noise(image, torch.tensor([field.photons]), torch.tensor([0.004]), generator)
    return (image[0, 0].clamp(0, 1) * 255).round().byte().numpy()


def make_demo(micrograph: Micrograph, out: Path, seed: int = SEED) -> dict:
    """Write field_0.png, field_1.png and truth.json into `out`; returns what stands in truth.json."""
    generator = torch.Generator().manual_seed(seed)
    pictures = [take_field(micrograph, field, generator) for field in (FIELD_0, FIELD_1)]
    height, width = micrograph.pixels.shape[:2]
    to_0, to_1 = (field_to_micrograph(field, width, height) for field in (FIELD_0, FIELD_1))
    homography = np.linalg.inv(to_1) @ to_0
    truth = {
        "homography": (homography / homography[2, 2]).tolist(),
        "direction": "pixels (x, y) of field_0 to pixels of field_1; the centre of the top-left pixel is (0, 0)",
        "rotation_deg": round(float(np.rad2deg(np.arctan2(homography[1, 0], homography[0, 0]))), 3),
        "scale": round(float(np.hypot(homography[0, 0], homography[1, 0])), 4),
        "overlap": round(overlap(homography), 3),
        "source": micrograph.name,
        "seed": seed,
    }
    for number, picture in enumerate(pictures):
        with atomic_write(out / f"field_{number}.png") as temporary:
            Image.fromarray(picture).save(temporary, optimize=True)
    write_json(out / "truth.json", truth)
    return truth


def overlap(homography: np.ndarray) -> float:
    """Share of field 0 that field 1 shows."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    moved = homography @ np.stack((x.ravel(), y.ravel(), np.ones(x.size)))
    x, y = moved[:2] / moved[2]
    return float(np.mean((x >= 0) & (x <= WIDTH - 1) & (y >= 0) & (y <= HEIGHT - 1)))


def main(argv: list[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m microloftr.data.demo", description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=SOURCE, help="name of a bundled micrograph")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "micrographs" / "demo")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args(argv)
    try:
        bundled = {micrograph.name: micrograph for split in SPLITS for micrograph in load_micrographs(split)}
        if options.source not in bundled:
            raise ParameterError(f"{options.source} is no bundled micrograph; manifest.csv names them")
        truth = make_demo(bundled[options.source], options.out, options.seed)
    except MicroLoFTRError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{options.out}: overlap {truth['overlap']:.0%}, turned {truth['rotation_deg']}°, scale {truth['scale']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
