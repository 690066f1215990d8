"""Pairs: the truth relates the images, numbers belong to (seed, index), and no fingerprint of the sensor is shared."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from microloftr.data.atlas import build_atlas
from microloftr.data.levels import LEVELS, MIXTURES
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import draw_parameters, make_pairs, true_points_0, true_points_1
from microloftr.errors import ParameterError
from microloftr.geometry import displacement_at, grid_points, normalised, warp_image


def smooth_noise(size: int, seed: int, colour: bool = False) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3 if colour else 1, size // 8, size // 8, generator=generator)
    image = F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)[0]
    return (image * 255).byte().permute(1, 2, 0).numpy() if colour else (image[0] * 255).byte().numpy()


@pytest.fixture(scope="module")
def atlas():
    made = [smooth_noise(420, 0), smooth_noise(512, 1, colour=True), smooth_noise(360, 2)]
    return build_atlas([Micrograph(f"m{k}", "train", f"s{k}", "sem", pixels) for k, pixels in enumerate(made)])


def correlation(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> float:
    a, b = a[inside] - a[inside].mean(), b[inside] - b[inside].mean()
    return float((a * b).sum() / (a.norm() * b.norm()))


def back_in_frame_0(batch):
    size = batch.images_0.shape[-1]
    homography = batch.homography.float()
    inside = warp_image(torch.ones_like(batch.images_1), homography, size, size) > 0.99
    return warp_image(batch.images_1, homography, size, size), inside


@pytest.mark.parametrize("level", ["easy", "medium", "hard"])
def test_the_homography_brings_image_1_onto_image_0(atlas, level):
    batch = make_pairs(atlas, level, 3, np.arange(6), 160)
    back, inside = back_in_frame_0(batch)
    grey = [k for k in range(6) if batch.micrograph[k] != 1]  # another colour need not correlate
    values = [correlation(batch.images_0[k], back[k], inside[k]) for k in (range(6) if level != "hard" else grey)]
    assert min(values) > 0.8


def test_a_truth_half_a_pixel_off_would_be_seen(atlas):
    """Along the lines of test_the_homography…: a shift of half a pixel lowers the agreement of every easy pair."""
    batch = make_pairs(atlas, "easy", 4, np.arange(6), 160)
    size = 160
    for k in range(6):
        scores = []
        for dx in (-0.5, 0.0, 0.5):
            homography = batch.homography[k : k + 1].clone().float()
            homography[:, 0] += dx * homography[:, 2]
            moved = warp_image(batch.images_1[k : k + 1], homography, size, size)
            inside = warp_image(torch.ones_like(moved), homography, size, size) > 0.99
            scores.append(correlation(batch.images_0[k : k + 1], moved, inside))
        assert scores[1] == max(scores)


def test_the_local_displacement_is_part_of_the_truth(atlas):
    batch = make_pairs(atlas, "train", 5, np.arange(24), 144)
    assert (batch.displacement != 0).any()
    points = torch.rand(24, 40, 2, generator=torch.Generator().manual_seed(0)) * 143
    there = true_points_1(points, batch)
    near = ((there > 0) & (there < 143)).all(-1)
    assert torch.dist(true_points_0(there.float(), batch)[near], points[near].double(), p=torch.inf) < 0.1
    # the images agree better along the displaced truth than along the homography alone
    pixels = grid_points(144, 144, 1).expand(24, -1, -1)
    plain = F.grid_sample(
        batch.images_0,
        normalised(true_points_0(pixels, batch), 144, 144).float().view(24, 144, 144, 2),
        align_corners=True,
    )
    assert plain.shape == batch.images_1.shape
    assert displacement_at(pixels, batch.displacement, 144).abs().max() > 0.3


@pytest.mark.parametrize("mixture", list(MIXTURES))
def test_a_pair_is_its_seed_and_number_whatever_the_batch(atlas, mixture):
    together = draw_parameters(atlas, mixture, 7, np.arange(40), 144)
    apart = draw_parameters(atlas, mixture, 7, np.array([33, 5, 21]), 144)
    for name in together.__dataclass_fields__:
        whole, part = getattr(together, name), getattr(apart, name)
        assert np.array_equal(whole[[33, 5, 21]], part), name
    other = draw_parameters(atlas, mixture, 8, np.arange(40), 144)
    assert not np.array_equal(together.homography, other.homography)


def test_the_same_batch_is_the_same_to_the_bit(atlas):
    one, two = (make_pairs(atlas, "train", 9, np.arange(4), 96) for _ in range(2))
    assert torch.equal(one.images_0, two.images_0)
    assert torch.equal(one.images_1, two.images_1)
    assert one.images_0.min() >= 0
    assert one.images_1.max() <= 1


def test_no_fingerprint_of_the_sensor_is_shared():
    """A micrograph that is nothing but sensor noise: its crops' high-pass residuals must not correlate."""
    noise = np.random.default_rng(0).normal(128, 20, (480, 480)).clip(0, 255).astype(np.uint8)
    atlas = build_atlas([Micrograph("noise", "train", "noise", "sem", noise)])
    batch = make_pairs(atlas, "easy", 2, np.arange(8), 160)
    back, inside = back_in_frame_0(batch)
    residual_0, residual_1 = (images - F.avg_pool2d(images, 3, 1, 1) for images in (batch.images_0, back))
    values = [correlation(residual_0[k], residual_1[k], inside[k]) for k in range(8)]
    assert np.mean(values) < 0.35
    raw = build_atlas([Micrograph("noise", "train", "noise", "sem", noise)])
    assert raw.noise[0] == pytest.approx(20 / 255, rel=0.1)  # the noise is known, so it is re-noised above what is left


def test_hard_pairs_of_a_colour_micrograph_see_other_projections(atlas):
    parameters = draw_parameters(atlas, "hard", 1, np.arange(60), 160)
    colour = parameters.micrograph == 1
    assert set(parameters.plane[colour, 1]) >= {0, 1, 2, 3}
    assert (parameters.plane[~colour] == 0).all()


def test_an_unknown_level_is_named(atlas):
    with pytest.raises(ParameterError, match=r"no mixture 'harder'.*easy"):
        make_pairs(atlas, "harder", 0, np.arange(2), 96)
    assert set(LEVELS) == {"easy", "medium", "hard", "extreme"}
