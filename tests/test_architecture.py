"""Attention, fine stages and rules of matching: how they are trained, judged, compared and shown."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs
from microloftr.errors import ParameterError
from microloftr.evaluation import architecture, architecture_attention, architecture_fine, architecture_summary
from microloftr.evaluation import architecture_switches as switches
from microloftr.evaluation.architecture_summary import compared_cells, compared_pairs, compared_stages, verdict_of
from microloftr.evaluation.architecture_tables import architecture_table, fine_table
from microloftr.evaluation.cell_choices import FineStage, Schedule, seen
from microloftr.evaluation.fine_forms import FORMS, MAP, Form, attached, done, fresh, trained
from microloftr.evaluation.network_alone import Rule, judged, looked, straightened
from microloftr.evaluation.protocols import Pair
from microloftr.evaluation.refined_cells import Judged
from microloftr.evaluation.stale_records import shipped_sha256
from microloftr.model.presets import PRESETS
from microloftr.model.weights import load_model, random_model, shipped
from microloftr.results import read_result, write_result
from microloftr.training.step import LossWeights
from microloftr.views.architecture_figures import draw_architecture, lines_of

CONFIG = PRESETS["micro"]
SOURCES = ["a", "a", "b", "c"]


@pytest.fixture(scope="module")
def micro():
    return load_model(shipped("micro"))


@pytest.fixture(scope="module")
def pair() -> Pair:
    batch = make_pairs(split_atlas("validation"), "easy", 3, np.arange(1), 128)
    images = (image[0, 0].numpy() for image in (batch.images_0, batch.images_1))
    return Pair("easy/0", "easy", "a", *images, batch.homography[0].numpy(), 0.0, (128, 128), (128, 128))


def test_stages_of_all_forms_read_the_same_map_from_the_same_start() -> None:
    stages = {key: fresh(form, CONFIG, 0) for key, form in FORMS.items()}
    first = stages["ours"].fine_features.state_dict()
    for key, stage in stages.items():
        there = stage.fine_features.state_dict()
        assert all(torch.equal(there[name], first[name]) for name in first), key
    sizes = {key: architecture_fine.size_of(stage)["parameters"] for key, stage in stages.items()}
    assert sizes["64-4"] < sizes["92-4"] < sizes["96-4"] == sizes["96-8"] < sizes["128-8"]  # heads weigh nothing
    assert sizes["whole"] == sizes["plain"] == 1  # the heat's scale
    assert [stages[key].refinement.transformer.layers[0].heads for key in ("92-4", "96-4", "96-8")] == [4, 4, 8]
    with pytest.raises(ParameterError, match="read by"):
        fresh(Form("no such", reading="guess"), CONFIG, 0)


def test_readings_of_one_heat(micro) -> None:
    """plain is micro's reading without its correction, whole the mean place of the window."""
    batch = seen(micro, split_atlas("validation"), 0, np.arange(2), 64, 0.0)
    stages = {key: fresh(FORMS[key], CONFIG, 0) for key in ("plain", "whole", "ours")}
    with torch.inference_mode():
        said = {key: stage(batch.encoded, batch.found) for key, stage in stages.items()}
    assert torch.allclose(said["plain"].offset, said["ours"].offset)  # the correction starts at zero
    assert ((said["plain"].offset - said["plain"].peak).abs() <= 2).all()
    heat = said["whole"].log_heat.exp()
    assert torch.equal(said["whole"].peak, said["plain"].peak)
    x = (torch.arange(81) % 9 - 4) * 2.0
    assert torch.allclose(said["whole"].offset[:, 0], heat @ x, atol=1e-4)


def test_a_stopped_training_of_stages_goes_on(micro, tmp_path) -> None:
    forms = {"64-4": FORMS["64-4"], "plain": FORMS["plain"]}
    schedule = Schedule(steps=2, pairs=1, crop=64, weights=replace(LossWeights(), refined_per_pair=4))
    atlas = split_atlas("validation")
    whole = trained(micro, forms, atlas, schedule, tmp_path / "whole")
    trained(micro, forms, atlas, schedule, tmp_path / "parts", 1)
    assert done(tmp_path / "parts") == 1 and done(tmp_path / "nowhere") == 0
    parts = trained(micro, forms, atlas, schedule, tmp_path / "parts")
    for key in forms:
        before = fresh(forms[key], CONFIG, 0).state_dict()
        for name, value in whole[key].state_dict().items():
            assert torch.equal(value, parts[key].state_dict()[name]), (key, name)
        assert any(not torch.equal(before[name], value) for name, value in whole[key].state_dict().items())
    with pytest.raises(ParameterError, match="other fine stages"):
        trained(micro, forms, atlas, replace(schedule, steps=4), tmp_path / "whole")


def test_one_look_serves_every_rule(micro, pair) -> None:
    """What is chosen of the partners is what the model itself gives with that threshold and border."""
    images = [torch.from_numpy(image)[None, None] for image in (pair.image_0, pair.image_1)]
    partners = looked({"": micro}, pair)[""]
    for threshold, border in ((0.1, 0), (0.0, 0), (0.3, 2)):
        with torch.inference_mode():
            found = micro(*images, threshold, border)
        index = np.sort(Rule("", threshold, border).chosen(partners))
        assert np.array_equal(partners.points_0[index], found.points_0.double().numpy())
        assert np.allclose(partners.points_1[index], found.points_1.double().numpy(), atol=1e-3)
        assert np.allclose(partners.coarse_1[index], found.coarse_points_1.double().numpy())
    best = Rule("", 0.1, one_to_one=False).chosen(partners)
    assert set(Rule("", 0.1).chosen(partners)) < set(best) and (np.diff(partners.confidence[best]) <= 0).all()
    told = {key: judged(partners, rule, pair) for key, rule in switches.rules(0.1).items()}
    assert told["as-it-is"]["error"] < 1 < told["coarse"]["error"]
    assert told["row-best"]["matches"] > told["as-it-is"]["matches"] > told["border-2"]["matches"]


def test_models_that_differ_in_their_fine_stage_share_the_coarse_look(micro, pair) -> None:
    own = attached(micro, FineStage(micro))
    partners = looked({"micro": micro, "own": own, "other": attached(micro, fresh(FORMS["92-4"], CONFIG, 0))}, pair)
    assert np.array_equal(partners["micro"].points_1, partners["own"].points_1)
    assert np.array_equal(partners["micro"].coarse_1, partners["other"].coarse_1)
    assert not np.allclose(partners["micro"].points_1, partners["other"].points_1)
    rule = Rule("", 0.1)
    few = looked({"micro": micro}, pair, rule)["micro"]
    index = np.sort(rule.chosen(partners["micro"]))
    assert np.allclose(few.points_1, partners["micro"].points_1[index], atol=1e-4) and len(few.edge) == len(index)
    assert judged(few, rule, pair) == pytest.approx(judged(partners["micro"], rule, pair), abs=1e-2)


def test_straightened_pairs_keep_their_truth(pair) -> None:
    quarter = np.array([[0.0, 1, 0], [-1, 0, 127], [0, 0, 1]])  # points of an image to points of np.rot90(image)
    turned = replace(pair, image_1=np.rot90(pair.image_1, 1), homography=quarter @ pair.homography)
    back = straightened(turned)
    assert np.array_equal(back.image_1, pair.image_1)
    assert np.allclose(back.homography, pair.homography)


def test_differences_have_verdicts_of_their_own_sign() -> None:
    right = {"error": [1.0, 1.0, 1.5, 1.0], "precision": [0.9, 0.8, 0.9, 0.9], "matches": [50.0, 60.0, 55.0, 70.0]}
    wrong = {"error": [9.0, None, 20.0, None], "precision": [0.2, 0.1, 0.3, 0.1], "matches": [90.0, 80.0, 99.0, 88.0]}
    entries = {key: {name: {"easy": row} for name, row in entry.items()} for key, entry in
               {"right": right, "same": right, "wrong": wrong}.items()}  # fmt: skip
    rows = compared_pairs(entries, "right", SOURCES)
    assert rows["right"]["auc_3"]["verdict"] == "reference" and "difference" not in rows["right"]["auc_3"]
    assert {told["verdict"] for name, told in rows["same"].items() if name != "levels"} == {"tie"}
    said = {name: rows["wrong"][name]["verdict"] for name in ("auc_3", "failures", "precision_3", "matches")}
    assert said == {"auc_3": "worse", "failures": "worse", "precision_3": "worse", "matches": "more"}
    assert rows["wrong"]["failures"]["value"] == 0.75 and rows["wrong"]["auc_3"]["difference"] < -0.5
    shares = {"a": {"easy": [0.5] * 4}, "b": {"easy": [0.6] * 4}}
    assert compared_cells(shares, "a", SOURCES)["b"]["right_cells"]["verdict"] == "better"
    assert [verdict_of("median", *limits) for limits in ((-2, -1), (1, 2), (-1, 1))] == ["better", "worse", "tie"]
    with pytest.raises(ParameterError, match="to compare with"):
        compared_pairs(entries, "nobody", SOURCES)
    with pytest.raises(ParameterError, match="two specimens"):
        compared_pairs(entries, "right", ["a"] * 4)


def test_stages_are_compared_on_the_matches_that_they_can_reach() -> None:
    distance, specimen = np.array([1.0, 2, 8, 40] * 3), np.repeat(["a", "b", "c"], 4)
    good = Judged(np.array([0.5, 0.6, 2, 40] * 3), distance, specimen)
    rows = compared_stages({"good": good, "bad": replace(good, error=good.error + 1)}, "good")
    assert rows["good"]["own"]["value"] == 0.55 and rows["good"]["median"]["value"] == 0.6
    assert rows["good"]["within"]["value"] == pytest.approx(2 / 3, abs=1e-4)  # the match 40 px off does not count
    assert rows["bad"]["own"]["difference"] == 1 and rows["bad"]["within"]["verdict"] == "worse"


def test_the_slip_leaves_almost_all_channels_constant() -> None:
    told = switches.encodings()
    assert told["right"]["constant"] < 70 < 200 < told["released"]["constant"] < told["released"]["channels"]
    assert told["right"]["spread"] > 2 * told["released"]["spread"]
    slipped = architecture_attention.with_slip(random_sines())
    assert slipped.config.released_position and not torch.equal(
        slipped.transformer.position(torch.zeros(1, 128, 4, 4)),
        random_sines().transformer.position(torch.zeros(1, 128, 4, 4)),
    )


def random_sines():
    """An untrained micro with the published transformer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return type(random_model("micro"))(replace(CONFIG, transformer="sine")).eval()


def test_kinds_of_attention_are_compared_within_their_seed() -> None:
    keys = ["none", "linear", "full", "sines", "sines-slip", "full-seed-1", "none-seed-1"]
    assert architecture_attention.comparisons(keys) == [
        ("full", ["none", "linear", "sines"]),
        ("full-seed-1", ["none-seed-1"]),
        ("sines", ["sines-slip"]),
        ("full", ["full-seed-1"]),
    ]
    assert architecture_attention.comparisons(["none", "linear"]) == []  # nothing to compare with yet


def test_filters_are_told_as_differences_from_ours() -> None:
    part = switches.filters()
    rows = part["rows"]
    assert next(iter(rows)) == "lanczos-antialiased" and "difference" not in rows["lanczos-antialiased"]["auc_3"]
    nearest = rows["nearest-fixed"]["auc_3"]
    ours = rows["lanczos-antialiased"]["auc_3"]["value"]
    assert nearest["value"] - ours == pytest.approx(nearest["difference"], abs=1e-4)
    assert nearest["difference_low"] <= nearest["difference"] <= nearest["difference_high"]


def test_command_keeps_each_part_and_goes_on(tmp_path, monkeypatch, micro, pair) -> None:
    monkeypatch.setattr(architecture_summary, "RESAMPLES", 20)
    levels = {"easy": [replace(pair, source=source) for source in ("a", "b")]}
    monkeypatch.setattr(architecture, "fixed_levels", lambda count: levels)
    monkeypatch.setattr(architecture_attention, "cell_sources", lambda: ["a", "b"])
    monkeypatch.setattr(architecture_attention, "right_cells", lambda model: {"easy": [0.5, 0.6]})
    trainings = []

    def weights_of(folder, variant, steps, train):
        trainings.append(variant.key)
        return shipped("micro") if train or variant.key in ("none", "full") else None

    monkeypatch.setattr(architecture_attention, "weights_of", weights_of)
    where = ["--results", str(tmp_path), "--folder", str(tmp_path)]
    assert architecture.main(["--only", "switches", *where]) == 0
    assert architecture.main(["--only", "attention", "--finished", *where]) == 0
    values = read_result("architecture", tmp_path)["values"]
    assert set(values["switches"]["rows"]) == set(switches.rules(0.1))
    assert set(values["attention"]["rows"]) == {"none", "full"} and values["attention"]["missing"] == [
        "linear",
        "sines",
    ]
    assert values["attention"]["rows"]["none"]["auc_3"]["verdict"] == "tie"  # the same weights
    assert architecture.main(["--only", "attention", *where]) == 0
    values = read_result("architecture", tmp_path)["values"]
    assert values["attention"]["missing"] == [] and "switches" in values
    table = architecture_table({"values": values})
    assert "no attention" in table and "border of 2" in table and "Not trained yet" not in table
    for part in ("attention,times --attention-steps", "switches --pairs"):  # a command for every group
        assert f"`python -m microloftr architecture --only {part}" in table
    assert values["switches"]["weights"] == {"name": "micro", "weights_sha256": shipped_sha256("micro")}
    assert (tmp_path / "architecture.png").stat().st_size > 5000
    for wrong in (["--only", "colour"], ["--seeds", "x"], ["--pairs", "1"]):
        with pytest.raises(ParameterError):
            architecture.main([*wrong, *where])


def test_fine_stages_are_judged_timed_and_drawn(tmp_path, monkeypatch, micro, pair) -> None:
    monkeypatch.setattr(architecture_summary, "RESAMPLES", 20)
    monkeypatch.setattr(architecture_fine, "VALIDATION_PAIRS", 4)
    monkeypatch.setattr(architecture_fine, "CHUNK", 4)
    monkeypatch.setattr(architecture_fine, "WINDOWS", 10)
    monkeypatch.setattr(architecture_fine, "GRID", 8)
    levels = {"easy": [replace(pair, source=source) for source in ("a", "b")]}
    atlases = (split_atlas("validation"),) * 2
    part = architecture_fine.study(micro, atlases, levels, 5, (0,), tmp_path, train=False)
    assert part["steps_done"] == part["trained_pairs"] == 0 and set(part["seeds"]["0"]) == set(FORMS)
    values = {"fine": part, "times": architecture_fine.times(CONFIG)}
    assert min(values["times"]["fine"].values()) > 0 == values["times"]["attention"]["none"]
    write_result("architecture", values, command="python -m microloftr architecture", folder=tmp_path)
    record = read_result("architecture", tmp_path)
    assert [len(lines_of(values, group)) for group in ("width", "reading", "attention")] == [5, 3, 0]
    assert draw_architecture(values) is not None and draw_architecture({}) is None
    for key, form in FORMS.items():
        assert form.words in fine_table(record) and form.words in architecture_table(record), key
    assert "`python -m microloftr architecture --only fine,times --fine-steps 5 --seeds 0`" in architecture_table(
        record
    )
    assert f"{part['seeds']['0']['92-4']['parameters']:,}" in fine_table(record) and CONFIG.fine_dim == MAP
