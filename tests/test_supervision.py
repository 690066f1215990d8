"""One-to-one truth, with the cases in which the published rounding loses cells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from microloftr.data.pairs import PairBatch
from microloftr.geometry import grid_points, transform_points
from microloftr.training.supervision import supervise


def batch(homography, size: int = 96) -> PairBatch:
    homography = torch.as_tensor(np.array(homography), dtype=torch.float64).reshape(-1, 3, 3)
    count = len(homography)
    blank = torch.zeros(count, 1, size, size)
    return PairBatch(
        blank,
        blank,
        homography,
        torch.zeros(count, 2, 6, 6),
        torch.arange(count),
        torch.zeros(count, dtype=torch.long),
        torch.ones(count),
    )


def shifted(x: float, y: float):
    return [[1, 0, x], [0, 1, y], [0, 0, 1]]


def turned(degrees: float, scale: float = 1.0, size: int = 96):
    c, s = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    m = (size - 1) / 2
    return [[c, -s, m - c * m + s * m], [s, c, m - s * m - c * m], [0, 0, 1]]


def test_identity_matches_every_cell_with_itself():
    truth = supervise(batch(shifted(0, 0)))
    assert truth.cells_1[0].tolist() == list(range(144))
    assert not truth.unmatchable_0.any()


@pytest.mark.parametrize("shift", [(4, 0), (4, 4), (12, -4), (-4, -20)])
def test_a_shift_of_half_a_cell_keeps_every_cell_inside(shift):
    """Rounding half to even both ways, as published, keeps a half or a quarter of them."""
    truth = supervise(batch(shifted(*shift)))
    points = transform_points(grid_points(12, 12, 8).double(), torch.tensor(shifted(*shift), dtype=torch.float64))
    inside = ((points >= 0) & (points <= 88)).all(1)  # both neighbouring cells exist
    assert (truth.cells_1[0][inside] >= 0).all()

    def published(p):
        return torch.round(p / 8)

    there = published(points)
    back = published(there * 8 - torch.tensor(shift))
    kept = (back == grid_points(12, 12, 1).double()).all(1)[inside]
    assert kept.float().mean() < 0.65


@pytest.mark.parametrize("warp", [turned(20), turned(45, 0.7), turned(130, 1.4), shifted(33.3, -7.7)])
def test_truth_is_one_to_one_and_within_half_a_cell(warp):
    truth = supervise(batch(warp))
    chosen = truth.cells_1[0] >= 0
    cells = truth.cells_1[0][chosen]
    assert len(cells) > 10
    assert len(cells.unique()) == len(cells)
    centres = grid_points(12, 12, 8).double()[cells]
    assert (truth.points_1[0][chosen] - centres).abs().max() <= 4 + 1e-9


def test_cells_that_the_other_image_does_not_show_are_unmatchable():
    truth = supervise(batch(shifted(48, 0)))
    columns = torch.arange(144) % 12
    assert truth.unmatchable_0[0].tolist() == (columns >= 7).tolist()  # 8·7 + 48 = 104 is beyond 95 + 4
    assert truth.unmatchable_1[0].tolist() == (columns <= 5).tolist()
    assert (truth.cells_1[0][truth.unmatchable_0[0]] == -1).all()


def test_replaced_content_cannot_match_and_its_rim_counts_nowhere():
    replaced = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
    replaced[..., 24:64, 20:60] = True
    plain, truth = (supervise(replace(batch(shifted(8, 0)), replaced=mask)) for mask in (None, replaced))
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[4:8, 3:7] = True  # cells of image_1 whose 8×8 pixels are replaced for the most part
    assert truth.unmatchable_1[0].view(12, 12)[inside].all()
    assert truth.unmatchable_0[0].view(12, 12)[inside.roll(-1, 1)].all()  # the same places, one cell to the left
    assert (truth.cells_1[0][truth.unmatchable_0[0]] == -1).all()
    before, after = plain.cells_1[0], truth.cells_1[0]
    assert (after[after >= 0] == before[after >= 0]).all()
    neither = (before >= 0) & (after < 0) & ~truth.unmatchable_0[0]
    assert neither.any()
    assert neither.sum() < 24
    outside = ~torch.nn.functional.max_pool2d(inside.roll(-1, 1)[None].float(), 3, 1, 1)[0].bool()
    assert (after == before).view(12, 12)[outside].all()


def test_a_smaller_scale_keeps_a_share_of_the_cells():
    """At half the scale four cells of image_0 fall on one of image_1: one is the match, the others count nowhere."""
    truth = supervise(batch(turned(0, 0.5)))
    matched = int((truth.cells_1 >= 0).sum())
    assert 25 <= matched <= 49
    assert not truth.unmatchable_0.any()


def test_pairs_without_any_overlap_have_no_match_and_do_not_fail():
    truth = supervise(batch([shifted(500, 0), shifted(0, 0)]))
    assert (truth.cells_1[0] == -1).all()
    assert truth.unmatchable_0[0].all()
    assert (truth.cells_1[1] >= 0).all()
