"""Pairs to play with: cut from a micrograph so that the truth is known, or your own two images; the second one changed.

Notebook 12 shows them; `playground_study` matches them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from microloftr.data import appearance
from microloftr.data.atlas import Atlas, build_atlas
from microloftr.data.drawn import KNOTS
from microloftr.data.levels import LEVELS
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import draw_parameters, render
from microloftr.data.parameters import PairParameters, uniforms
from microloftr.data.warps import draw_geometry
from microloftr.errors import ParameterError
from microloftr.guided import warped_onto
from microloftr.images import Image
from microloftr.registration.transform import Transform
from microloftr.search import shrunk

SEED = 12  # of the pairs that are played with: neither validation's nor training's


@dataclass(frozen=True)
class Scene:
    """Which pair, and what is done to its second image; None leaves what the level draws.

    micrograph, place: which, and where in it. rotation in degrees, scale of image_1 beside image_0, overlap as a share
    of image_0. contrast multiplies the distance of the grey values from middle grey: 0 leaves nothing, below 0 swaps
    black and white. photons at white: the fewer, the noisier.
    """

    micrograph: int = 0
    place: int = 0
    level: str = "easy"
    rotation: float | None = None
    scale: float | None = None
    overlap: float | None = None
    contrast: float = 1.0
    photons: float | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ParameterError(f"there is no level {self.level!r}; there are {', '.join(LEVELS)}")
        limits = {
            "rotation": (-180, 180), "scale": (0.25, 4), "overlap": (0.05, 1), "contrast": (-1, 1),
            "photons": (1, math.inf), "micrograph": (0, math.inf), "place": (0, math.inf),
        }  # fmt: skip
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ParameterError(f"{name} must be {least:g} to {most:g}, got {value!r}")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images (H, W) float32 in 0..1; truth (3, 3): points of image_0 → image_1, None where nobody knows."""

    image_0: np.ndarray
    image_1: np.ndarray
    truth: np.ndarray | None = None

    @property
    def true(self) -> Transform | None:
        """The truth as a Transform, to ask it for rotation, scale and overlap."""
        if self.truth is None:
            return None
        return Transform(self.truth, "homography", self.image_0.shape[::-1], self.image_1.shape[::-1])


class Source(Protocol):
    """Where pairs come from. names: of the micrographs; free: whether level, place and overlap can be chosen."""

    names: Sequence[str]
    free: bool

    def make(self, scene: Scene) -> Pair: ...

    def filled(self, scene: Scene) -> Scene: ...


class Cut:
    """Pairs cut from micrographs, so the truth is known. size: of a crop in pixels."""

    free = True

    def __init__(self, atlas: Atlas, size: int = 256) -> None:
        self.atlas, self.size, self.names = atlas, size, [name.replace("_", " ") for name in atlas.names]

    @classmethod
    def from_image(cls, image: Image, size: int = 256) -> "Cut":
        """Both images from one of your own."""
        grey = np.rint(image.pixels * 255).astype(np.uint8)
        name = image.name or "yours"
        return cls(build_atlas([Micrograph(name, "validation", name, "unknown", grey, image.um_per_px)]), size)

    def make(self, scene: Scene) -> Pair:
        """The pair of a scene. Raises ParameterError for a micrograph that there is not."""
        parameters, index = self._parameters(scene)
        batch = render(self.atlas, parameters, SEED, index, self.size)
        images = (images[0, 0].numpy() for images in (batch.images_0, batch.images_1))
        return Pair(*images, batch.homography[0].numpy())

    def filled(self, scene: Scene) -> Scene:
        """The same scene with what the level draws in the place of None."""
        parameters, _ = self._parameters(scene)
        size = (self.size, self.size)
        true = Transform(parameters.homography[0], "homography", size, size)
        return replace(
            scene,
            rotation=true.rotation_deg,
            scale=true.scale,
            overlap=float(parameters.overlap[0]),
            photons=float(parameters.photons[0, 1]),
        )

    def _parameters(self, scene: Scene) -> tuple[PairParameters, np.ndarray]:
        if scene.micrograph >= len(self.atlas):
            raise ParameterError(f"there is no micrograph {scene.micrograph}; there are {len(self.atlas)}")
        which, level = np.array([scene.micrograph]), LEVELS[scene.level]
        index = which + scene.place * len(self.atlas)
        drawn = draw_parameters(self.atlas, scene.level, SEED, index, self.size)
        u, warp = uniforms(SEED, index)[:, :28], level.warp
        if scene.rotation is not None:
            warp = replace(warp, rotation=abs(scene.rotation), rotation_half=None)
            u[:, 1] = float(scene.rotation >= 0)
        if scene.scale is not None:
            warp = replace(warp, scale=(scene.scale, scene.scale))
        if scene.overlap is not None:
            warp = replace(warp, overlap=(scene.overlap, scene.overlap))
        if warp is not level.warp:
            content = lambda points: self.atlas.content_at(which, points)  # noqa: E731
            geometry = draw_geometry(u, warp, self.size, self.atlas.sizes[which], level.zoom, content, tries=8)
            drawn = replace(
                drawn,
                crop=np.stack((geometry.crop_0, geometry.crop_1), 1),
                homography=geometry.homography,
                overlap=geometry.overlap,
                zoom=np.stack((geometry.zoom_0, geometry.zoom_1), 1),
            )
        curve, photons = drawn.curve.copy(), drawn.photons.copy()
        curve[:, 1] = flattened(curve[:, 1], scene.contrast)
        if scene.photons is not None:
            photons[:, 1] = scene.photons
        return replace(drawn, curve=curve, photons=photons), index


class Given:
    """Two images of your own, at most `side` pixels a side; the second one can be turned, scaled, made flat and noisy.

    Nobody knows the truth; level, place and overlap are what they are.
    """

    free = False

    def __init__(self, image_0: Image, image_1: Image, side: int = 512) -> None:
        self.images = [shrunk(image.pixels, side)[0] for image in (image_0, image_1)]
        self.names = [f"{image_0.name or 'image_0'} and {image_1.name or 'image_1'}"]

    def make(self, scene: Scene) -> Pair:
        """The first image, and the second one changed."""
        image_0, image_1 = self.images
        image_1 = turned(image_1, scene.rotation or 0.0, scene.scale or 1.0)
        knots = torch.from_numpy(flattened(np.linspace(0, 1, KNOTS)[None], scene.contrast)).float()
        changed = appearance.tone_curve(torch.from_numpy(image_1)[None, None], knots)
        photons, generator = torch.tensor([scene.photons or math.inf]), torch.Generator().manual_seed(SEED)
        noisy = appearance.sensor_noise(changed, photons, torch.zeros(1), generator)
        return Pair(image_0, noisy.clamp(0, 1)[0, 0].numpy())

    def filled(self, scene: Scene) -> Scene:
        """As the images are where nothing is asked for."""
        return replace(
            scene, rotation=scene.rotation or 0.0, scale=scene.scale or 1.0, photons=scene.photons or math.inf
        )


def flattened(curve: np.ndarray, contrast: float) -> np.ndarray:
    """Tone curves (B, K) with their distance from middle grey multiplied."""
    return 0.5 + contrast * (curve - 0.5)


def turned(pixels: np.ndarray, rotation: float, scale: float) -> np.ndarray:
    """An image turned by degrees (clockwise on the screen) and scaled about its centre, on a canvas that holds it."""
    if rotation == 0 and scale == 1:
        return pixels
    angle, (height, width) = math.radians(rotation), pixels.shape
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    across, down = np.abs(linear) @ (width, height) - 1e-6  # cos 90° is not quite 0
    shape = max(math.ceil(down), 32), max(math.ceil(across), 32)
    back = np.eye(3)
    back[:2, :2] = np.linalg.inv(linear)
    back[:2, 2] = (np.array([width, height]) - 1) / 2 - back[:2, :2] @ ((np.array(shape[::-1]) - 1) / 2)
    return warped_onto(shape, pixels, back).astype(np.float32)
