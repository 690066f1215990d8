"""The naive LoFTR and its mends: truth, published losses, fine stages, and how the waterfall is judged."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from microloftr.data.atlas import build_atlas
from microloftr.data.micrographs import Micrograph
from microloftr.data.pairs import PairBatch, make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation import naive, waterfall
from microloftr.evaluation.averaged import averaged, middle_case, misplaced
from microloftr.evaluation.cell_choices import FineStage, Schedule
from microloftr.evaluation.naive import MENDS, NAIVE, Recipe, recipes, stage_of, truth_of
from microloftr.evaluation.naive_training import NaiveStepper, naive_config
from microloftr.evaluation.tables_waterfall import begun_table, waterfall_table
from microloftr.evaluation.waterfall import WORDS
from microloftr.evaluation.waterfall_harm import harm, harmed
from microloftr.evaluation.waterfall_judge import Row, compared, frozen, refined_rows, see
from microloftr.geometry import cell_points
from microloftr.images import Image
from microloftr.model.coarse_matching import CoarseMatches
from microloftr.model.loftr import LoFTR
from microloftr.model.weights import load_model, shipped
from microloftr.model.windows import Refined, window_places
from microloftr.training.step import LossWeights
from microloftr.training.supervision import supervise
from microloftr.views.case import trace_case
from microloftr.views.harm_figures import draw_harmed
from microloftr.views.refinement_study import errors_of
from microloftr.views.waterfall_figures import draw_averaged, draw_harm, draw_waterfall, total_of

SHORT = Schedule(steps=2, pairs=2, crop=96, weights=LossWeights(refined_per_pair=16), precision="bf16")
BOTH = ("median", "auc_3")


@pytest.fixture(scope="module")
def atlas():
    generator = torch.Generator().manual_seed(0)
    made = []
    for k in range(3):
        coarse = torch.rand(1, 1, 80, 80, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (640, 640), mode="bicubic").clamp(0, 1)[0, 0]
        made.append(Micrograph(f"m{k}", "train", f"s{k}", "sem", (image * 255).byte().numpy()))
    return build_atlas(made)


@pytest.fixture(scope="module")
def micro():
    return load_model(shipped("micro"))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LoFTR(replace(NAIVE, threshold=0.0)).eval()


def related(slope: list[list[float]], shift: tuple[float, float], size: int = 96) -> PairBatch:
    """One pair of blank images related by an affine map."""
    homography = torch.eye(3, dtype=torch.float64)
    homography[:2, :2] = torch.tensor(slope, dtype=torch.float64)
    homography[:2, 2] = torch.tensor(shift, dtype=torch.float64)
    images, none = torch.zeros(1, 1, size, size), torch.zeros(1)
    return PairBatch(images, images, homography[None], torch.zeros(1, 2, 6, 6), none.long(), none.long(), none)


def heat(log_heat: torch.Tensor) -> Refined:
    """What an expectation over windows (M, W²) says."""
    places = window_places(int(log_heat.shape[1] ** 0.5), log_heat) * 2.0
    none = torch.zeros(len(log_heat), 1, 1)
    return Refined(log_heat.softmax(1) @ places, log_heat.log_softmax(1), places[log_heat.argmax(1)], none, none)


def test_each_recipe_mends_one_thing_more_and_the_last_mends_all():
    names = [field.name for field in fields(Recipe)]
    assert list(MENDS) == names and list(recipes()) == ["naive", *names]
    for count, recipe in enumerate(recipes().values()):
        assert [getattr(recipe, name) for name in names] == [True] * count + [False] * (len(names) - count)


def test_a_homography_in_the_frame_of_corners_moves_points_by_its_slope_times_half_a_pixel():
    slope = [[0.9, -0.3], [0.3, 0.9]]
    batch = related(slope, (20.0, -5.0))
    wrong, right = (truth_of(batch, Recipe(frame=frame)).points_1 for frame in (False, True))
    expected = (torch.tensor(slope, dtype=torch.float64) - torch.eye(2)) @ torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert torch.allclose(wrong - right, expected.expand_as(wrong), atol=1e-9)
    shifted = related([[1, 0], [0, 1]], (3.0, 2.0))
    assert torch.equal(truth_of(shifted, Recipe()).points_1, truth_of(shifted, Recipe(frame=True)).points_1)
    angle = np.degrees(np.arctan2(0.3, 0.9))
    assert misplaced(angle, np.hypot(0.3, 0.9), 0.5) == pytest.approx(float(expected.norm()), abs=1e-9)


def test_without_the_way_back_cells_share_a_truth_and_with_it_none_does(atlas):
    smaller = related([[0.6, 0], [0, 0.6]], (0.0, 0.0))
    many, one = (truth_of(smaller, Recipe(frame=True, one_to_one=rule)).cells_1[0] for rule in (False, True))
    assert (many >= 0).all() and many.unique().numel() < 0.5 * many.numel()
    kept = one[one >= 0]
    assert kept.unique().numel() == kept.numel() and (many[one >= 0] == kept).all()
    batch = make_pairs(atlas, "medium", 0, np.arange(3), 96)
    ours, mended = supervise(batch), truth_of(batch, recipes()["window"])
    assert torch.equal(ours.cells_1, mended.cells_1) and torch.equal(ours.points_1, mended.points_1)
    tilted = truth_of(batch, Recipe(one_to_one=True)).cells_1
    assert 0 < (tilted != ours.cells_1).float().mean() < 0.3


def test_the_published_coarse_loss_is_its_formula_and_its_clamp_stops_the_gradient():
    log_p = torch.tensor([[[0.6, 0.1], [1e-9, 0.3]]]).log().requires_grad_()
    loss = naive.published_coarse_loss(log_p, torch.tensor([[0, 0]]))
    by_hand = [-0.25 * 0.4**2 * np.log(0.6), -0.25 * (1 - 1e-6) ** 2 * np.log(1e-6)]
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-5)
    loss.backward()
    assert log_p.grad[0, 0, 0] != 0 and log_p.grad[0, 1, 0] == 0
    assert naive.published_coarse_loss(log_p, torch.tensor([[-1, -1]])).item() == 0


def test_the_published_fine_loss_counts_in_half_windows_weighs_by_spread_and_leaves_far_ones_out():
    sharp, even = torch.full((25,), -20.0), torch.zeros(25)
    sharp[12] = 20.0
    target = torch.tensor([[2.0, 0.0], [1.0, -1.0]])
    alike = naive.published_fine_loss(heat(torch.stack((even, even))), target).item()
    assert alike == pytest.approx((0.5**2 + 2 * 0.25**2) / 2, rel=1e-5)
    unlike = naive.published_fine_loss(heat(torch.stack((sharp, even))), target).item()
    assert unlike == pytest.approx(0.5**2, rel=1e-3)  # the sharp one has all of the weight: 2 of a mean of 1
    far = torch.tensor([[2.0, 0.0], [4.1, 0.0]])
    assert naive.published_fine_loss(heat(torch.stack((even, even))), far).item() == pytest.approx(0.5**2, rel=1e-5)
    nothing = naive.published_fine_loss(heat(torch.stack((even, even))), far + 10)
    assert nothing.item() == 0


def test_the_loss_in_pixels_is_a_distance_averaged_by_pair():
    target = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 2.0], [9.0, 0.0]])
    loss = naive.pixel_loss(heat(torch.zeros(4, 25)), target, torch.tensor([0, 1, 1, 1]), 2)
    assert loss.item() == pytest.approx((3 + (1 + 2) / 2) / 2, abs=0.01)


def test_the_naive_stage_is_the_models_own_and_each_mend_changes_what_it_names(model, atlas):
    batch = see(model, make_pairs(atlas, "turned", 0, np.arange(2), 96))
    with torch.no_grad():
        own = model.encode(batch.encoded.pyramid_0, batch.encoded.pyramid_1)
        expected = model.refine(own, batch.found).offset
        found = {key: stage_of(model, recipe, 0)(batch.encoded, batch.found) for key, recipe in recipes().items()}
    assert torch.equal(found["naive"].offset, expected) and torch.equal(found["frame"].offset, expected)
    for before, key in (("frame", "pyramid"), ("pyramid", "border"), ("unit", "pick")):
        assert not torch.allclose(found[before].offset, found[key].offset, atol=1e-4)
    assert found["pick"].log_heat.shape[1] == 25 and found["window"].log_heat.shape[1] == 81
    again = stage_of(model, recipes()["pick"], 0)(batch.encoded, batch.found)
    assert torch.equal(again.offset, found["pick"].offset)


def test_masked_windows_give_nothing_to_places_outside_the_image(model, atlas):
    batch = see(model, make_pairs(atlas, "shifted", 0, np.arange(1), 96))
    corner = torch.zeros(1, dtype=torch.long)
    cells = CoarseMatches(corner, corner, corner, torch.ones(1))  # of its 5×5 window 3×3 places are in the image
    outside = torch.ones(5, 5, dtype=torch.bool)
    outside[2:, 2:] = False
    with torch.no_grad():
        padded, masked = (
            stage_of(model, recipes()[key], 0)(batch.encoded, cells).log_heat[0].exp().view(5, 5)
            for key in ("pyramid", "border")
        )
    assert masked[outside].sum() < 1e-6 < padded[outside].min()
    assert masked.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_naive_step_teaches_every_part_and_refines_what_was_found(atlas):
    torch.manual_seed(0)
    config = replace(naive_config(4, 0, "none"), data=replace(naive_config(4, 0, "none").data, crop=64, batch=4))
    stepper = NaiveStepper(LoFTR(NAIVE), config, torch.device("cpu"))
    result = stepper.forward(make_pairs(atlas, "medium", 0, np.arange(4), 64))
    stepper.backward(result)
    assert result.loss.item() == pytest.approx(float(result.parts["coarse"] + result.parts["fine"]), rel=1e-5)
    for name, part in stepper.model.named_children():
        weights = list(part.parameters())
        assert not weights or any(w.grad is not None and w.grad.abs().max() > 0 for w in weights), name


def test_stages_are_kept_and_not_trained_again(model, atlas, tmp_path):
    made = waterfall.trained_stages(model, atlas, tmp_path, SHORT)
    assert any(
        not torch.equal(a, b) for a, b in zip(made["naive"].parameters(), FineStage(model).parameters(), strict=True)
    )
    kept = waterfall.trained_stages(model, None, tmp_path, SHORT)  # nothing to learn from is needed
    for key, stage in made.items():
        assert all(torch.equal(a, b) for a, b in zip(stage.parameters(), kept[key].parameters(), strict=True))
    half = waterfall.half_trained(model, atlas, tmp_path, SHORT)["half"]
    own = dict(FineStage(model).named_parameters())
    assert not any(torch.equal(own[name], p) for name, p in half.named_parameters() if p.ndim > 1)  # a start of its own


class Knows(torch.nn.Module):
    """A fine stage that knows the truth of a batch of shifted pairs, and says it `off` px aside."""

    def __init__(self, seen, off: float) -> None:
        super().__init__()
        self.seen, self.off = {id(batch.encoded): batch for batch in seen}, off

    def forward(self, encoded, cells):
        batch = self.seen[id(encoded)]
        points_0, cells_1 = (cell_points(c, batch.width, 8) for c in (cells.cells_0, cells.cells_1))
        shift = batch.pairs.homography[cells.batch_index, :2, 2].float()
        none = torch.zeros(len(points_0), 1)
        return Refined(points_0 + shift - cells_1 + torch.tensor([self.off, 0.0]), none, none, none, none)


def test_a_stage_that_knows_the_truth_is_judged_right_and_one_beside_it_by_as_much(micro, atlas):
    seen = frozen(micro, atlas, "shifted", 6)
    rows = refined_rows(seen, {"coarse": None, "right": Knows(seen, 0.0), "aside": Knows(seen, 0.5)})
    assert rows["right"].near == rows["coarse"].near > 50
    told = compared(rows, {"aside": "right"}, {"right": "coarse", "aside": "coarse"}, [*atlas.specimens])
    assert told["right"]["median"] < 1e-3 and told["aside"]["median"] == pytest.approx(0.5, abs=1e-3)
    assert told["right"]["gain"]["median"]["verdict"] == "better" and told["right"]["gain"]["against"] == "coarse"
    assert told["aside"]["change"]["median"]["verdict"] == "worse"
    assert "gain" not in told["coarse"] and "change" not in told["right"]
    worse = compared(rows, {"right": "right"}, {}, [*atlas.specimens])["right"]["change"]["auc_3"]
    assert worse["difference"] == 0 and worse["verdict"] == "tie"


def test_pairs_of_one_specimen_alone_have_no_interval():
    row = Row([np.ones(3), np.ones(2)], np.ones(2), np.zeros(2, dtype=int), 5, 5)
    with pytest.raises(ParameterError, match="two specimens"):
        compared({"one": row}, {}, {}, ["a"])


def test_failures_stay_in_the_auc():
    row = Row([np.ones(3), np.zeros(0)], np.array([0.0, np.inf]), np.array([0, 1]), 4, 3)
    told = compared({"one": row}, {}, {}, ["a", "b"])["one"]
    assert told["auc_3"] == pytest.approx(0.5) and told["failures"] == 0.5 and told["median"] == 1


def test_cells_are_wrong_alike_in_a_shifted_pair_and_every_way_in_a_turned_one(micro, atlas):
    spread = {}
    for mixture in ("shifted", "turned"):
        case = middle_case(averaged(micro, atlas, mixture, 3))
        near = np.abs(case.residuals["coarse"]).max(1) < 4.5
        spread[mixture] = case.residuals["coarse"][near].std(0).max()
        assert np.median(np.hypot(*case.residuals["fine"].T)) < np.median(np.hypot(*case.residuals["coarse"].T))
    assert spread["shifted"] < 1 < 1.8 < spread["turned"]
    cases = averaged(micro, atlas, "turned", 2)
    assert len(draw_averaged(cases).axes) == 2


def test_where_it_hurts_counts_what_was_made_worse(micro, atlas):
    found = harm(micro, atlas, 3)
    easy = found["levels"]["easy"]
    assert easy["n"] == easy["own"]["n"] + easy["beside"]["n"] > 100 and easy["fine"] < easy["coarse"]
    near, far = found["by_distance"][0], found["by_distance"][3]
    assert near["worse"] > far["worse"]  # hardly anything is nearer than a cell whose centre is right
    assert len(draw_harm(found).axes) == 3


def a_record(total: bool) -> dict:
    """A record of two kinds of pairs with two seeds and two mends."""

    def change(value):
        return {name: {"difference": value, "low": value - 0.1, "high": value + 0.1, "verdict": "tie"} for name in BOTH}

    def row(key, value):
        names = ("median", "within", "auc_1", "auc_3", "auc_5")
        cell = {f"{name}{end}": value for name in names for end in ("", "_low", "_high")}
        told = {"words": WORDS[key], **cell, "matches": 9, "near": 8, "again": [{"median": value, "auc_3": value}]}
        if key in ("pick", "window"):
            told |= {"change": {"against": "naive", **change(-0.1)}, "holds": dict.fromkeys(BOTH, "tie")}
            told["again"][0] |= {"change": change(0.05)}
        if total and key == "window":
            told |= {"total": {"against": "naive", **change(-0.4)}, "total_holds": dict.fromkeys(BOTH, "better")}
        return told

    values = {"coarse": 3.0, "whole": 0.9, "naive": 0.8, "pick": 0.6, "window": 0.5}
    rows = {key: row(key, value) for key, value in values.items()}
    numbers = {"pairs": 6, "naive": {"pairs": 1}, "fine": {"pairs": 1}}
    return {"values": {"probes": {"shifted": rows, "turned": rows}, **numbers}, "split": "x", "commit": "y"}


def test_the_waterfall_draws_a_line_of_every_row_and_of_every_change():
    record = a_record(total=True)
    figure = draw_waterfall(record["values"])
    rows = record["values"]["probes"]["shifted"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [row["words"] for row in rows.values()]
    changes = [text.get_text() for text in figure.axes[2].get_yticklabels()]
    assert changes == [WORDS["pick"], WORDS["window"], "all of these together"]
    assert len(figure.axes[0].lines) == 2 + 2 * 3 * len(rows)  # cells; interval, dot and another seed's
    assert len(figure.axes[2].lines) == 2 + 2 * 3 * 3  # zero, the rule above the last row
    assert [text.get_text() for text in figure.legends[0].get_texts()][2] == "another seed"  # what hollow dots are


def test_all_mends_together_have_an_interval_where_the_record_keeps_one_and_say_so_where_not():
    for total in (True, False):
        record = a_record(total)
        told = total_of(record["values"]["probes"]["shifted"])["median"]
        assert told["difference"] == pytest.approx(-0.4 if total else 0.5 - 0.8) and told["again"] == [-0.3]
        assert (told["low"], told["verdict"]) == ((pytest.approx(-0.5), "better") if total else (None, None))
        text = waterfall_table(record)
        line = next(line for line in text.splitlines() if "all of these together" in line)
        assert line.count("|") == text.splitlines()[0].count("|")
        assert ("without interval" in text) is not total and ("[-0.50, -0.30]" in line) is total


def test_what_began_at_random_has_a_short_table():
    record = a_record(total=True)
    lines = begun_table(record).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:6]] == [
        WORDS["coarse"], WORDS["whole"], WORDS["naive"], "all mends together"
    ]  # fmt: skip
    assert "0.50 [0.50, 0.50]" in lines[5] and "8 of 9 (shifted)" in lines[-1]


def test_from_random_weights_every_mutual_cell_counts_and_micro_is_left_out(monkeypatch, atlas):
    naive_model = LoFTR(NAIVE).eval()
    monkeypatch.setattr(waterfall, "PROBES", {"shifted": "shifted"})
    rows = waterfall.study(naive_model, [{"naive": FineStage(naive_model).eval()}], atlas, 6, None)["shifted"]
    assert list(rows) == ["coarse", "whole", "naive"]
    sure = sum(len(batch.found.confidence) for batch in frozen(naive_model, atlas, "shifted", 6))
    assert rows["coarse"]["matches"] > 600 > sure


def test_the_total_is_paired_with_the_naive_stage_of_the_same_seed(micro, atlas):
    seen = frozen(micro, atlas, "shifted", 6)
    made = {"whole": 1.0, "naive": 1.0, "naive~1": 2.0, "window": 0.25, "window~1": 0.5}
    rows = refined_rows(seen, {"coarse": None, **{key: Knows(seen, off) for key, off in made.items()}})
    told = waterfall.table(rows, atlas)["window"]
    assert told["total"]["against"] == "naive" and told["total"]["median"]["difference"] == pytest.approx(
        -0.75, abs=1e-3
    )
    again = told["again"][0]["total"]
    assert again["against"] == "naive~1" and again["median"]["difference"] == pytest.approx(-1.5, abs=1e-3)
    assert told["total_holds"]["median"] == "better" and told["total"]["auc_3"]["low"] is not None


def test_the_harmed_are_farther_than_their_cells_and_are_drawn(micro, atlas):
    pairs = make_pairs(atlas, "medium", 0, np.arange(2), 160)
    images = [[Image(images[k, 0].numpy(), None, "") for images in (pairs.images_0, pairs.images_1)] for k in (0, 1)]
    cases = [trace_case(micro, *images[k], pairs.homography[k].numpy()) for k in (0, 1)]
    worst, shares = harmed(cases, 3)
    assert len(worst) == 3 and worst[0].moved == max(one.moved for one in worst) and 0 < shares.max() <= 1
    errors = errors_of(cases)
    moved = np.hypot(*errors.by_stage["refined"].T) - np.hypot(*errors.by_stage["coarse"].T)
    assert worst[0].moved == pytest.approx(moved[errors.near()].max(), abs=1e-6)
    assert all(one.true <= one.best for one in worst) and len(shares) == errors.near().sum()
    figure = draw_harmed(cases, [(one.case, one.index) for one in worst], ["first", "second"])
    assert len(figure.axes) == 9 and figure.axes[0].get_title().startswith(("first", "second"))
