"""Pairs: the truth relates the images, numbers belong to (seed, index), and no fingerprint of the sensor is shared."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from microloftr.data.atlas import build_atlas
from microloftr.data.levels import LEVELS, MIXTURES
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import draw_parameters, make_pairs, render, true_points_0, true_points_1
from microloftr.errors import ParameterError
from microloftr.geometry import grid_points, normalised, warp_image


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
    """Looked up in image_0 by the truth, the pixels of image_1 agree; without the displacement, or against it, less."""
    indices = np.arange(4)
    parameters = draw_parameters(atlas, "easy", 5, indices, 144)
    field = np.random.default_rng(0).uniform(-3, 3, parameters.displacement.shape)
    batch = render(atlas, replace(parameters, displacement=field), 5, indices, 144)
    pixels = grid_points(144, 144, 1).expand(4, -1, -1)
    scores = []
    for sign in (1, 0, -1):
        told = replace(batch, displacement=sign * batch.displacement)
        points = true_points_0(pixels, told)
        inside = ((points > 0) & (points < 143)).all(-1).view(4, 1, 144, 144)
        grid = normalised(points, 144, 144).float().view(4, 144, 144, 2)
        scores.append(correlation(F.grid_sample(batch.images_0, grid, align_corners=True), batch.images_1, inside))
        there = true_points_1(pixels[:, ::97], told)
        near = ((there > 0) & (there < 143)).all(-1)
        back = true_points_0(there.float(), told)[near] - pixels[:, ::97][near]
        assert back.abs().max() < 1.2  # the way there is right to first order in a field of 3 px (0.5 px in training)
    assert scores[0] > 0.97
    assert scores[0] > scores[1] + 0.02 > scores[2] + 0.04


@pytest.mark.parametrize("mixture", list(MIXTURES))
def test_a_pair_is_its_seed_and_number_whatever_the_batch(atlas, mixture):
    together = draw_parameters(atlas, mixture, 7, np.arange(40), 144)
    apart = draw_parameters(atlas, mixture, 7, np.array([33, 5, 21]), 144)
    stages = [(together, apart)] + [(together.changes, apart.changes)] * (together.changes is not None)
    for whole_stage, part_stage in stages:
        for name in set(whole_stage.__dataclass_fields__) - {"changes"}:
            whole, part = getattr(whole_stage, name), getattr(part_stage, name)
            assert np.array_equal(whole[[33, 5, 21]], part), name
    other = draw_parameters(atlas, mixture, 8, np.arange(40), 144)
    assert not np.array_equal(together.homography, other.homography)


def test_the_same_batch_is_the_same_to_the_bit(atlas):
    one, two = (make_pairs(atlas, "train", 9, np.arange(4), 96) for _ in range(2))
    assert torch.equal(one.images_0, two.images_0)
    assert torch.equal(one.images_1, two.images_1)
    assert one.images_0.min() >= 0
    assert one.images_1.max() <= 1


def patches_found(residual_0: torch.Tensor, residual_1: torch.Tensor, inside: torch.Tensor) -> tuple[int, int]:
    """How many 33×33 patches of one residual are found within a pixel of their place, of 25×25 places, in the other."""
    found = tried = 0
    for y in range(28, 132, 24):
        for x in range(28, 132, 24):
            if inside[y - 28 : y + 29, x - 28 : x + 29].all():
                patch = residual_0[y - 16 : y + 17, x - 16 : x + 17]
                around = residual_1[y - 28 : y + 29, x - 28 : x + 29].unfold(0, 33, 1).unfold(1, 33, 1)
                around = around - around.mean((-1, -2), keepdim=True)
                score = (around * (patch - patch.mean())).sum((-1, -2)) / around.norm(dim=(-1, -2))
                row, column = divmod(int(score.argmax()), 25)
                found += abs(row - 12) <= 1 and abs(column - 12) <= 1
                tried += 1
    return found, tried


@pytest.mark.parametrize("level", ["easy", "medium"])
def test_no_fingerprint_of_the_sensor_is_shared(level):
    """Of a micrograph that is nothing but sensor noise, patches of the high-pass residual match by chance only."""
    noise = np.random.default_rng(0).normal(128, 20, (480, 480)).clip(0, 255).astype(np.uint8)
    atlas = build_atlas([Micrograph("noise", "train", "noise", "sem", noise)])
    assert atlas.noise[0, 0] == pytest.approx(20 / 255, rel=0.1)

    def share(parameters) -> float:
        batch = render(atlas, parameters, 2, np.arange(6), 160)
        back, inside = back_in_frame_0(batch)
        residual_0, residual_1 = (images - F.avg_pool2d(images, 3, 1, 1) for images in (batch.images_0, back))
        counts = [patches_found(residual_0[k, 0], residual_1[k, 0], inside[k, 0]) for k in range(6)]
        return sum(found for found, _ in counts) / sum(tried for _, tried in counts)

    parameters = draw_parameters(atlas, level, 2, np.arange(6), 160)
    assert share(parameters) < 0.1  # 9 of 625 places are within a pixel: chance is 0.014
    assert share(replace(parameters, noise=0 * parameters.noise)) > 0.8  # without the new noise they all match


def test_no_fingerprint_is_shared_by_training_pairs_either():
    """As above, for the mixture that is trained on: at any scale, overlap and change of appearance."""
    noise = np.random.default_rng(0).normal(128, 20, (640, 640)).clip(0, 255).astype(np.uint8)
    atlas = build_atlas([Micrograph("noise", "train", "noise", "sem", noise)])
    indices = np.arange(20)
    parameters = draw_parameters(atlas, "train", 2, indices, 160)
    parameters = replace(parameters, displacement=0 * parameters.displacement)  # places are compared by the homography

    def share(parameters) -> float:
        batch = render(atlas, parameters, 2, indices, 160)
        back, inside = back_in_frame_0(batch)
        residual_0, residual_1 = (images - F.avg_pool2d(images, 3, 1, 1) for images in (batch.images_0, back))
        counts = [patches_found(residual_0[k, 0], residual_1[k, 0], inside[k, 0]) for k in indices]
        return sum(found for found, _ in counts) / sum(tried for _, tried in counts)

    assert share(parameters) < 0.1
    silent = replace(parameters, noise=0 * parameters.noise, photons=np.full_like(parameters.photons, np.inf))
    assert share(silent) > 0.5


def test_the_truth_of_a_deformed_section_is_exact(atlas):
    """There and back along a field of several pixels ends where it began: the truth is inverted, not approximated."""
    indices = np.arange(200)
    parameters = draw_parameters(atlas, "train", 5, indices, 144)
    strong = np.abs(parameters.displacement).max((1, 2, 3)) > 2
    assert 0.08 < strong.mean() < 0.22  # sections
    assert np.abs(parameters.displacement).max() > 4
    chosen = indices[strong][:6]
    batch = make_pairs(atlas, "train", 5, chosen, 144)
    pixels = grid_points(144, 144, 1)[::131].expand(len(chosen), -1, -1)
    there = true_points_1(pixels, batch)
    assert (true_points_0(there.float(), batch) - pixels).abs().max() < 0.02
    straight = replace(batch, displacement=0 * batch.displacement)
    assert (true_points_1(pixels, straight) - there).norm(dim=-1).max() > 2


def test_what_is_replaced_is_other_content_and_the_rest_is_not(atlas):
    """Outside the mask image_1 is what it is without replacement; inside it is not."""
    indices = np.arange(160)
    parameters = draw_parameters(atlas, "train", 6, indices, 96)
    chosen = indices[(parameters.changes.content > 0) & (parameters.changes.structures == 0)][:6]
    with_ = draw_parameters(atlas, "train", 6, chosen, 96)
    without = replace(with_, changes=replace(with_.changes, content=0 * with_.changes.content))
    clean = [
        replace(p, blur=0 * p.blur, noise=0 * p.noise, photons=np.full_like(p.photons, np.inf))
        for p in (with_, without)
    ]
    one, other = (render(atlas, p, 6, chosen, 96) for p in clean)
    assert len(chosen) == 6
    assert one.replaced.any((1, 2, 3)).all()
    assert one.replaced.float().mean() < 0.5
    far = ~F.max_pool2d(one.replaced.float(), 25, 1, 12).bool()  # defocus and streaks carry over the rim
    same = (one.images_1 - other.images_1).abs()
    changed = with_.changes.rows.any(1) | (with_.changes.disk > 0)
    assert same[far & ~torch.from_numpy(changed).view(-1, 1, 1, 1)].max() < 1e-5
    assert same[one.replaced].mean() > 0.05
    assert torch.equal(one.images_0, other.images_0)


def test_the_first_mixture_has_no_changes_and_charging_is_for_beams(atlas):
    assert draw_parameters(atlas, "first", 1, np.arange(5), 96).changes is None
    assert make_pairs(atlas, "first", 1, np.arange(2), 96).replaced is None
    indices = np.arange(120)
    scanned = draw_parameters(atlas, "train", 1, indices, 96).changes.rows.any(1)
    assert 0.01 < scanned.mean() < 0.2
    light = replace(atlas, modalities=("brightfield",) * 3)
    assert not draw_parameters(light, "train", 1, indices, 96).changes.rows.any()


@pytest.mark.parametrize(
    ("mixture", "silent"),
    [
        ("train-no-sections", ("content",)),
        ("train-no-imaging", ("disk", "rows", "vignette")),
        ("train-no-tones", ("structures",)),
        ("train-plain", ("content", "disk", "rows", "vignette", "structures", "radii")),
    ],
)
def test_a_mixture_for_an_ablation_leaves_out_what_it_says(atlas, mixture, silent):
    whole, part = (draw_parameters(atlas, name, 2, np.arange(150), 96) for name in ("train", mixture))
    for name in silent:
        assert getattr(whole.changes, name).any(), name
        assert not (getattr(part.changes, name).any() if name != "radii" else getattr(part.changes, name).max() > 0)
    assert np.array_equal(whole.overlap, part.overlap)  # and the geometry stays


def test_hard_pairs_of_a_colour_micrograph_see_other_projections(atlas):
    parameters = draw_parameters(atlas, "hard", 1, np.arange(60), 160)
    colour = parameters.micrograph == 1
    assert set(parameters.plane[colour, 1]) >= {0, 1, 2, 3}
    assert (parameters.plane[~colour] == 0).all()


def test_an_unknown_level_is_named(atlas):
    with pytest.raises(ParameterError, match=r"no mixture 'harder'.*easy"):
        make_pairs(atlas, "harder", 0, np.arange(2), 96)
    assert set(LEVELS) == {"easy", "medium", "hard", "extreme"}
