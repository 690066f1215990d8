"""Notebook 06's study and figures: regions of a place, steps of appearance, cells that share one, the explorer."""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from microloftr.data.atlas import build_atlas
from microloftr.data.levels import LEVELS
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import make_pairs
from microloftr.data.warps import MARGIN
from microloftr.errors import ParameterError
from microloftr.geometry import grid_points, nearest_cell
from microloftr.training.supervision import supervise
from microloftr.views import pairs_figures as figures
from microloftr.views import pairs_study as study
from microloftr.views.explorers.pairs import View, draw_explorer, explore
from microloftr.views.figures import figure_bytes

SIZE = 96


@pytest.fixture(scope="module")
def atlas():
    rng = np.random.default_rng(0)
    made = [rng.integers(0, 255, shape, dtype=np.uint8) for shape in ((300, 420), (260, 260), (150, 150))]
    return build_atlas([Micrograph(f"m{k}", "validation", f"s{k}", "sem", pixels) for k, pixels in enumerate(made)])


@pytest.mark.parametrize(("number", "turn", "scale"), [(0, 30.0, 0.8), (0, 0.0, 1.0), (1, -20.0, 1.2), (2, 35.0, 0.8)])
def test_the_regions_are_where_the_second_crop_may_lie(atlas, number, turn, scale):
    """Both crops are put with the centre of crop 1 in and out of each region, and their corners are looked at."""
    geometry, which = study.geometry_at(atlas, "medium", 0, number, SIZE, turn, scale)
    micrograph = atlas.sizes[which]
    regions = study.regions(geometry, 0, micrograph, SIZE)
    corners = study.outlines(geometry, SIZE)[0]
    centre = study._moved(np.array([[(SIZE - 1) / 2, (SIZE - 1) / 2, 1]]), geometry.crop_1)[0, 0]
    assert ((centre >= regions.both[0]) & (centre <= regions.both[1])).all()  # as it was drawn
    rng = np.random.default_rng(1)
    for place in rng.uniform(0, micrograph, (300, 2)):
        moved = corners + place - centre
        free = np.minimum(moved - MARGIN, micrograph - 1 - MARGIN - moved).min((1, 2))
        for box, least in ((regions.alone, free[1]), (regions.both, free.min()), (regions.blind, free[0])):
            assert ((place >= box[0]) & (place <= box[1])).all() == (least >= 0)
    out = rng.uniform(*regions.blind, (4000, 2)) if (regions.blind[1] > regions.blind[0]).all() else None
    if out is not None:
        inside = ((out >= regions.alone[0]) & (out <= regions.alone[1])).all(1)
        assert regions.failing == pytest.approx(1 - inside.mean(), abs=0.03)


def test_nothing_sticks_out_as_pairs_are_made_and_much_would_otherwise(atlas):
    placing = study.place(LEVELS["extreme"], atlas.sizes, 0, 60, SIZE)
    assert placing.outside == 0
    assert placing.blind.mean() > 0.2
    assert placing.raised[2::3].all()  # the micrograph of 150 px has no room for any of them
    assert (placing.blind[2::3] > 0.5).all()
    crops, _ = study.geometry_at(atlas, "easy", 0, 1, SIZE)
    closer = study.zoomed(crops, crops.zoom_0 / 4)  # a quarter of the zoom: crops four times as wide
    assert study.sticks_out(closer, atlas.sizes[1:2], SIZE).all()
    assert not study.sticks_out(crops, atlas.sizes[1:2], SIZE).any()


def test_a_pair_can_be_turned_and_scaled_as_one_likes(atlas):
    own = study.pair_at(atlas, "hard", 3, 4, SIZE)
    assert torch.equal(own.images_1, make_pairs(atlas, "hard", 3, np.array([4]), SIZE).images_1)
    set_ = study.pair_at(atlas, "hard", 3, 4, SIZE, rotation=-40.0, scale=0.7)
    linear = set_.homography[0, :2, :2]
    assert float(linear.det().abs().sqrt()) == pytest.approx(0.7, rel=0.15)  # perspective comes on top
    assert float(torch.atan2(linear[1, 0], linear[0, 0])) * 180 / np.pi == pytest.approx(-40, abs=6)
    with pytest.raises(ParameterError, match="no level"):
        study.geometry_at(atlas, "harder", 0, 0, SIZE)
    with pytest.raises(ParameterError, match="scale"):
        study.geometry_at(atlas, "hard", 0, 0, SIZE, scale=0.1)


def test_the_steps_begin_bare_and_end_with_what_training_sees(atlas):
    steps = study.stages(atlas, "hard", 0, 4, SIZE)
    images = list(steps.values())
    assert torch.equal(images[-1], make_pairs(atlas, "hard", 0, np.array([4]), SIZE).images_1)
    assert all((one - other).abs().max() > 1e-3 for one, other in pairwise(images))
    assert images[1].std() < images[0].std()  # blur


def test_cells_that_share_one_are_counted():
    centres = grid_points(8, 8, 8)[None].double()
    assert (study.sharing(centres, (8, 8)) == 1).all()
    half = study.sharing(centres / 2 - 0.1, (8, 8))  # cells 0 and 1, 2 and 3, … of each row and column on one
    assert half.unique(return_counts=True)[0].tolist() == [1, 2, 4] or half.max() == 4
    assert int((1 / half.double()).sum().round()) == len(nearest_cell(centres / 2 - 0.1, 8, 8, 8).unique())
    assert (study.sharing(centres + 1000, (8, 8)) == 0).all()


def test_ranges_are_those_of_the_levels():
    found = study.ranges(["easy", "train"])
    assert found["easy"] == {
        "rotation": 10, "scale_least": 0.95, "scale_most": 1.05, "overlap_least": 0.45, "overlap_most": 0.95
    }  # fmt: skip
    assert found["train"]["rotation"] == 50 and found["train"]["scale_least"] < found["easy"]["scale_least"]


def test_no_bundled_specimen_is_in_two_splits():
    splits: dict[str, set[str]] = {}
    for row in study.bundled():
        splits.setdefault(row["specimen"], set()).add(row["split"])
    assert len(splits) > 100 and all(len(found) == 1 for found in splits.values())


def test_the_truth_is_drawn_where_it_is(atlas):
    batch = study.together([make_pairs(atlas, name, 0, np.array([1]), SIZE) for name in ("easy", "medium")])
    truth = supervise(batch)
    assert len(batch) == 2 and batch.homography.shape == (2, 3, 3)
    for k in range(2):
        tint_0, tint_1 = figures.tints_of(truth, k, batch)
        cells_0 = (truth.cells_1[k] >= 0).nonzero()[:, 0].numpy()
        np.testing.assert_array_equal(tint_0[cells_0], tint_1[truth.cells_1[k][cells_0].numpy()])
        coloured = np.isin(np.arange(len(tint_1)), truth.cells_1[k].numpy()) | truth.unmatchable_1[k].numpy()
        np.testing.assert_array_equal(tint_1[:, 3] > 0, coloured)
    figure = figures.draw_truths(batch, truth, ["easy", "medium"])
    assert [axis.get_title() for axis in figure.axes[:2]] == ["easy", "medium"]
    matrix = figures.draw_truth(batch, truth, 1).axes[2]
    dots = matrix.collections[0].get_offsets()
    np.testing.assert_array_equal(dots[:, 0], truth.cells_1[1][truth.cells_1[1] >= 0])


def test_the_explorers_picture_is_its_static_twin_and_answers_in_time(atlas):
    view = View("medium", 0, 1, rotation=20.0, scale=0.7)
    box = explore(atlas, view)
    picture = box.children[-1]
    assert picture.value == figure_bytes(draw_explorer(atlas, view), "jpeg") and not box.own.value
    before = picture.value
    started = time.process_time()
    box.controls["scale"].value = 1.5
    assert time.process_time() - started < 1  # seconds of this process alone
    assert picture.value != before and box.view == View("medium", 0, 1, 20.0, 1.5)
    box.own.value = True
    assert box.view.rotation is None
    box.controls["level"].value = "extreme"
    assert box.view.level == "extreme" and "extreme" in draw_explorer(atlas, box.view).get_suptitle()


def test_a_view_that_cannot_be_is_refused(atlas):
    with pytest.raises(ParameterError, match="no level"):
        draw_explorer(atlas, View("harder"))
