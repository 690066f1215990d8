"""Resampling keeps the frame and does not alias: a known sub-pixel shift survives it, whatever the sizes and scales."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microloftr.images import resize
from microloftr.matching import Matcher, MatcherOptions
from microloftr.model.loftr import MatchedPoints
from microloftr.model.presets import PRESETS
from microloftr.search import frame, shrunk, unturn

LIMIT = 0.02  # pixels, of the input and of the output


@dataclass(frozen=True)
class Texture:
    """A smooth picture that is known everywhere: waves no shorter than `shortest` (x, y) pixels, moved by `shift`."""

    shortest: tuple[float, float]
    seed: int = 0
    shift: tuple[float, float] = (0.0, 0.0)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values at all points of a grid of columns x (W,) and rows y (H,)."""
        rng = np.random.default_rng(self.seed)
        x, y = (x - self.shift[0]) / self.shortest[0], (y - self.shift[1]) / self.shortest[1]
        total = np.zeros((len(y), len(x)))
        for _ in range(6):
            angle, length, phase = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2), rng.uniform(0, 2 * np.pi)
            wave = (np.cos(angle) * x[None] + np.sin(angle) * y[:, None]) / length
            total += np.sin(2 * np.pi * wave + phase)
        return 0.5 + total / 14

    def image(self, height: int, width: int) -> np.ndarray:
        return self(np.arange(width), np.arange(height)).astype(np.float32)


def moved(resized: np.ndarray, texture: Texture, x: np.ndarray, y: np.ndarray, rim: tuple[int, int]) -> np.ndarray:
    """How far (x, y) a resized image shows the texture from where its pixels are said to lie, in pixels of the input.

    x and y are the places of its columns and rows in the input; `rim` pixels at the edges, where part of the kernel is
    missing, do not count. Gauss-Newton on brightness, gain and both shifts.
    """
    inner = (slice(rim[1], len(y) - rim[1]), slice(rim[0], len(x) - rim[0]))
    found = np.zeros(2)
    for _ in range(5):
        here = texture(x - found[0], y - found[1])
        across = (texture(x - found[0] + 0.01, y - found[1]) - texture(x - found[0] - 0.01, y - found[1])) / 0.02
        down = (texture(x - found[0], y - found[1] + 0.01) - texture(x - found[0], y - found[1] - 0.01)) / 0.02
        design = np.stack([part[inner].ravel() for part in (here, np.ones_like(here), -across, -down)], 1)
        found += np.linalg.lstsq(design, resized[inner].ravel(), rcond=None)[0][2:]
    return found


def places(size: int, new: int) -> np.ndarray:
    """Where the new pixels' centres lie in the old image: the outer edges of both coincide."""
    return (np.arange(new) + 0.5) * size / new - 0.5


def errors(old: tuple[int, int], new: tuple[int, int], shift: tuple[float, float], seed: int, resizer=resize) -> float:
    """The largest error of a known shift after resizing from `old` to `new` (height, width), in pixels of either."""
    (height, width), scale = old, np.array([new[1] / old[1], new[0] / old[0]])
    shortest = tuple(8 * np.maximum(1, 1 / scale))
    image = Texture(shortest, seed, shift).image(height, width)
    rim = tuple(int(side) for side in np.ceil(3 * np.maximum(1, scale)))
    found = moved(resizer(image, new), Texture(shortest, seed), places(width, new[1]), places(height, new[0]), rim)
    return float(np.max(np.abs(found - shift) * np.maximum(1, scale)))


side = st.integers(31, 119)
amount = st.floats(-1.5, 1.5)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.tuples(side, side), st.tuples(side, side), st.tuples(amount, amount), st.integers(0, 99))
@example((139, 131), (31, 33), (0.37, -0.81), 0)
@example((31, 37), (139, 83), (0.37, -0.81), 0)
@example((64, 96), (64, 96), (0.5, 0.25), 0)
@example((101, 90), (100, 90), (-0.5, 0.25), 0)
def test_a_known_shift_survives_any_resizing(old, new, shift, seed):
    assert errors(old, new, shift, seed) < LIMIT


@pytest.mark.parametrize("factor", [0.06, 0.11, 0.21, 0.37, 0.5, 0.73, 0.97, 1.03, 1.5, 2.0, 3.3, 7.9])
def test_a_known_shift_survives_each_scale(factor):
    sizes = {0: [(611, 750), (617, 733)], 1: [(97, 130), (104, 128), (203, 101)], 2: [(40, 49), (37, 56)]}
    for height, width in sizes[(factor >= 0.3) + (factor >= 2)]:
        new = (round(height * factor), round(width * factor))  # rounded, so no two sides have the same scale
        assert errors((height, width), new, (0.37, -0.81), 1) < LIMIT


def in_another_frame(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """x_out = x_in · s: right where pixel centres lie at one half, wrong here."""
    matrix = np.diag([shape[1] / image.shape[1], shape[0] / image.shape[0], 1.0])[:2]
    return cv2.warpAffine(image, matrix, shape[::-1], flags=cv2.INTER_CUBIC)


def by_one_scale(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The scale of x for y too, as if the sides had not been rounded."""
    height = round(image.shape[1] * shape[0] / shape[1])
    return resize(image[: max(1, height)], shape)


@pytest.mark.parametrize("wrong", [in_another_frame, by_one_scale, lambda image, shape: resize(image, shape)[::-1]])
def test_a_wrong_frame_is_found(wrong):
    assert errors((97, 130), (48, 66), (0.37, -0.81), 1) < LIMIT < errors((97, 130), (48, 66), (0.37, -0.81), 1, wrong)


def amplitude(resizer, factor: float, frequency: float) -> float:
    """Of a wave of so many cycles per new pixel, after shrinking; 1 where it is kept."""
    size = 1024
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * frequency * factor * np.arange(size) + 0.3)
    new = round(size * factor)
    row = resizer(np.tile(wave.astype(np.float32), (64, 1)), (max(8, round(64 * factor)), new))[4][8:-8]
    return float(row.std() / (0.5 / np.sqrt(2)))


@pytest.mark.parametrize("factor", [0.7, 0.5, 0.31, 0.25, 0.13])
def test_what_is_too_fine_goes_and_what_is_coarse_stays(factor):
    gone = [cycles for cycles in (0.7, 0.87, 0.97, 1.13, 1.7) if cycles * factor < 0.5]
    assert max(amplitude(resize, factor, cycles) for cycles in gone) < 0.03
    assert min(amplitude(resize, factor, cycles) for cycles in (0.05, 0.15, 0.25, 0.3)) > 0.95

    def aliasing(image, shape):
        return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_LINEAR)

    assert max(amplitude(aliasing, factor, cycles) for cycles in gone) > 0.1  # the measure sees it


@pytest.mark.parametrize("new", [(24, 32), (29, 41), (47, 63), (48, 64), (95, 128), (131, 99)])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_resizing_and_quarter_turns_commute(new, turns):
    """Any offset of the frame would show: half a turn doubles it."""
    image = np.random.default_rng(0).random((48, 64)).astype(np.float32)
    turned = resize(np.rot90(image, turns), new if turns == 2 else new[::-1])
    np.testing.assert_allclose(turned, np.rot90(resize(image, new), turns), atol=2e-6)
    off = in_another_frame(image, (24, 32))
    assert np.abs(in_another_frame(np.ascontiguousarray(image[::-1, ::-1]), (24, 32)) - off[::-1, ::-1]).max() > 0.1


@pytest.mark.parametrize("shape", [(301, 407), (407, 301), (320, 400), (97, 1003), (403, 403)])
def test_the_matcher_s_shrinking_keeps_theframe(shape):
    for long_side in (64, 77, 150, 199):
        small, scale = shrunk(Texture((60.0, 60.0)).image(*shape), long_side)
        assert max(small.shape) == long_side
        back = np.linalg.inv(frame(scale))
        x, y = (back[axis, axis] * np.arange(small.shape[1 - axis]) + back[axis, 2] for axis in (0, 1))
        np.testing.assert_allclose(x, places(shape[1], small.shape[1]), atol=1e-9)
        rim = (4, min(4, len(y) // 4))
        if min(small.shape) > 24:
            assert np.abs(moved(small, Texture((60.0, 60.0)), x, y, rim)).max() < LIMIT
        for turns in range(4):
            turned, turned_scale = shrunk(np.rot90(np.empty(shape, np.float32), turns), long_side)
            there = back @ unturn(turns, small.shape) @ frame(turned_scale)
            np.testing.assert_allclose(there, unturn(turns, shape), atol=1e-9)
            assert turned.shape == (small.shape if turns % 2 == 0 else small.shape[::-1])


class Measures(torch.nn.Module):
    """Stands where the network stands, and knows the picture: says where each image shows what the texture has."""

    def __init__(self, textures: list[Texture], shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        self.textures, self.shapes, self.config = textures, shapes, PRESETS["micro"]

    def forward(self, image_0, image_1, threshold, border):
        """The centre of the picture in either image, measured in the shrunk pixels by themselves."""
        points = []
        for image, texture, (height, width) in zip((image_0, image_1), self.textures, self.shapes, strict=True):
            pixels = image[0, 0].numpy()
            scale = np.array([pixels.shape[1] / width, pixels.shape[0] / height])
            plain = Texture(texture.shortest, texture.seed)
            found = moved(pixels, plain, places(width, pixels.shape[1]), places(height, pixels.shape[0]), (4, 4))
            points.append(torch.from_numpy((np.array([[150.0, 140.0]]) + found + 0.5) * scale - 0.5))
        return MatchedPoints(torch.zeros(1), *points, points[1], torch.ones(1))


@pytest.mark.parametrize("sizes", [((301, 407), (333, 299)), ((400, 320), (283, 397)), ((297, 303), (297, 303))])
@pytest.mark.parametrize("long_side", [97, 203, 500])
def test_a_known_shift_survives_the_whole_matcher(sizes, long_side):
    shift = (0.37, -0.81)
    textures = [Texture((50.0, 50.0)), Texture((50.0, 50.0), shift=shift)]
    images = [texture.image(*size) for texture, size in zip(textures, sizes, strict=True)]
    matcher = Matcher(Measures(textures, list(sizes)), MatcherOptions(network_side=long_side, search=False), "cpu")
    matches = matcher.match(*images)
    np.testing.assert_allclose(matches.points_0, [[150, 140]], atol=LIMIT)
    np.testing.assert_allclose(matches.points_1 - matches.points_0, [shift], atol=LIMIT)
