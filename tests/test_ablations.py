"""Ablations: what is trained, how it is judged, what counts as a difference, and the record that goes on."""

import math
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
import torch

from microloftr import proposals
from microloftr.config import Config, load_config
from microloftr.config.plain import config_of
from microloftr.data.fixed import split_atlas
from microloftr.data.pairs import make_pairs, true_points_1
from microloftr.errors import ConfigError, ParameterError
from microloftr.evaluation import ablation_judges, ablation_summary, ablation_switches, ablations
from microloftr.evaluation import ablation_variants as variants
from microloftr.evaluation.ablation_summary import compared, difference, stored, table_of
from microloftr.evaluation.ablation_tables import inference_table, trained_table
from microloftr.evaluation.protocols import Pair
from microloftr.images import as_image
from microloftr.matching import Matcher
from microloftr.model.backbone import MicroBackbone, chosen_contrast, contrast, from_xfeat
from microloftr.model.presets import ModelConfig
from microloftr.model.weights import load_model, random_model, recipe_of, shipped
from microloftr.results import read_result
from microloftr.views.ablation_figures import draw_ablations, lines_of, seed_band

SOURCES = [f"s{k}" for k in range(8)]


# --- variants


def configured(base: Config, overrides: list[str]) -> Config:
    """The checked configuration with overrides; many times faster than by Hydra."""
    values = asdict(base)
    for override in overrides:
        (group, key), value = override.split("=")[0].split("."), override.split("=")[1]
        values[group][key] = type(values[group][key])(value)
    return config_of(values)


def test_each_variant_changes_one_thing_and_every_configuration_is_valid():
    base = load_config(variants.overrides_of(variants.BASE, 120))
    assert configured(base, variants.overrides_of(variants.BASE, 120)) == base
    for variant in variants.VARIANTS[1:]:
        config = configured(base, variants.overrides_of(variant, 120))
        same = replace(config, train=replace(config.train, run="base"))
        changed = [part for part in ("model", "data", "train") if getattr(same, part) != getattr(base, part)]
        assert changed == [override.split(".")[0] for override in variant.overrides], variant.key
        assert config.train.run == variant.run and (changed or not (variant.turns and variant.learns))


def test_seeds_and_names_of_variants():
    assert [v.key for v in variants.chosen(["base", "first"])] == ["base", "base-seed-1", "first"]
    both = variants.chosen(["everything-unturned"], (0, 2))
    assert [(v.key, v.run) for v in both] == [
        ("everything-unturned", "everything"),
        ("everything-unturned-seed-2", "everything-seed-2"),
    ]
    assert "train.seed=2" in variants.overrides_of(both[1], 8) and "train.warmup=1" in variants.overrides_of(both[1], 8)
    with pytest.raises(ParameterError, match="no variant 'bsae'"):
        variants.chosen(["bsae"])


def test_a_training_in_another_configuration_s_folder_is_refused(tmp_path, monkeypatch):
    began = []
    monkeypatch.setattr(variants, "atlases_of", lambda *_: ())
    monkeypatch.setattr(variants, "starting_model", lambda _: None)
    monkeypatch.setattr(variants, "read_job", lambda *_: (None, ()))
    monkeypatch.setattr(variants, "write_job", lambda folder, config, *_: began.append((folder, config)))
    monkeypatch.setattr(variants, "read_config", lambda _: (began[-1][1], {}))
    monkeypatch.setattr(variants, "run", lambda config, *_: tmp_path / f"{config.train.steps}.safetensors")
    assert variants.trained(variants.BASE, 8, tmp_path).name == "8.safetensors"
    (tmp_path / "config.json").write_text("{}")
    assert variants.trained(variants.BASE, 8, tmp_path).name == "8.safetensors" and len(began) == 1
    with pytest.raises(ParameterError, match="another configuration"):
        variants.trained(variants.BASE, 9, tmp_path)
    start = next(variant for variant in variants.VARIANTS if not variant.learns)
    monkeypatch.setattr(variants, "starting_model", lambda _: random_model("micro"))
    assert load_model(variants.trained(start, 8, tmp_path / "start")).config == ModelConfig()
    monkeypatch.setattr(variants, "run", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        variants.trained(variants.BASE, 8, tmp_path)


# --- the input's channels


def test_one_contrast_alone_stands_in_both_places():
    image = torch.rand(2, 1, 40, 56)
    both = contrast(image)
    assert chosen_contrast(both, "both") is both
    for channel, which in enumerate(("whole", "local")):
        one = chosen_contrast(both, which)
        assert torch.equal(one[:, 0], both[:, channel]) and torch.equal(one[:, 1], both[:, channel])


def test_weights_from_before_see_both_contrasts_and_xfeat_s_halves_add_up_with_one():
    assert load_model(shipped("micro")).config.contrast == "both"
    assert ModelConfig(contrast="local").contrast == "local"
    with pytest.raises(ConfigError, match="only the backbone micro"):
        ModelConfig(backbone="one_conv", window=0, layers=0, contrast="whole")
    with pytest.raises(ConfigError, match="both or whole or local"):
        ModelConfig(contrast="none")
    torch.manual_seed(0)
    micro, alone = MicroBackbone(16), MicroBackbone(16, "local")
    alone.load_state_dict(micro.state_dict())
    assert from_xfeat.__doc__ is not None and "half" in from_xfeat.__doc__
    image = torch.rand(1, 1, 64, 64)
    assert not torch.allclose(micro(image).eighth, alone(image).eighth)
    with torch.no_grad():  # weights that do not tell the two apart: what counts is their sum
        for conv in (micro.full[0][0], micro.detail[0], micro.skip):
            conv.weight[:, 1] = conv.weight[:, 0]
    alone.load_state_dict(micro.state_dict())
    local = contrast(image)[:, 1:]
    summed = torch.nn.functional.conv2d(local, 2 * micro.full[0][0].weight[:, :1], micro.full[0][0].bias, padding=1)
    assert torch.allclose(alone.full[0][0](chosen_contrast(contrast(image), "local")), summed, atol=1e-5)


# --- judges


@pytest.mark.parametrize("degrees", [0, 40, -40, 50, 95, 170, -100])
def test_quarter_turns_leave_at_most_45_degrees(degrees):
    turn = np.radians(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn), 12], [np.sin(turn), np.cos(turn), -3], [1e-5, 0, 1]])
    turns = ablation_judges.quarter_turns(matrix, (200, 100))
    left = np.linalg.inv(ablation_judges.unturn(turns, (100, 200))) @ matrix
    assert abs(np.degrees(np.arctan2(left[1, 0], left[0, 0]))) <= 45.5


def test_turned_back_pairs_show_the_same_points():
    batch = make_pairs(split_atlas("validation"), "hard", 0, np.arange(4), 64)
    turned = ablation_judges.turned_back(batch)
    points = torch.tensor([[[20.0, 30.0], [40.0, 25.0]]], dtype=torch.float64).expand(4, -1, -1)
    before, after = (true_points_1(points, one).round().long() for one in (batch, turned))
    for pair in range(4):
        for (x, y), (u, v) in zip(before[pair].tolist(), after[pair].tolist(), strict=True):
            if 0 <= x < 64 and 0 <= y < 64:
                assert batch.images_1[pair, 0, y, x] == turned.images_1[pair, 0, v, u]
    assert any(not torch.equal(a, b) for a, b in zip(batch.images_1, turned.images_1, strict=True))


def test_right_cells_of_an_image_and_itself_are_many_and_of_random_weights_few(monkeypatch):
    batch = make_pairs(split_atlas("validation"), "easy", 0, np.arange(2), 64)
    same = replace(batch, images_1=batch.images_0, homography=torch.eye(3, dtype=torch.float64).expand(2, 3, 3))
    assert min(ablation_judges.cells_right(load_model(shipped("micro")), same)) > 0.9
    assert max(ablation_judges.cells_right(random_model("micro"), batch)) < 0.5


def test_the_fixed_pairs_are_of_the_same_micrographs_at_every_level(monkeypatch):
    class Asked:
        def __init__(self, level, *_, **__):
            self.level = level

        def __getitem__(self, number):
            return self.level, number

    monkeypatch.setattr(ablation_judges, "MadePairs", Asked)
    pairs = ablation_judges.validation_pairs(3)
    assert pairs["easy"] == [("easy", 0), ("easy", 2), ("easy", 4)] and len(pairs) == 4
    assert [number for _, number in ablation_judges.validation_pairs(27)["hard"]] == list(range(27))


# --- switches


@pytest.fixture(scope="module")
def pair() -> Pair:
    generator = np.random.default_rng(0)
    wide = cv2.GaussianBlur(generator.random((200, 200)).astype(np.float32), (0, 0), 2.0)
    wide = (wide - wide.min()) / np.ptp(wide)
    shift = np.array([[1.0, 0, -5], [0, 1, 3], [0, 0, 1]])
    image_0, image_1 = wide[30:158, 30:158], wide[27:155, 35:163]
    return Pair("p", "easy", "s", image_0, image_1, shift, 0.0, (128, 128), (128, 128))


def test_every_switch_measures_a_shift_and_pixels_measure_it_best(pair):
    errors = ablation_switches._Switched(load_model(shipped("micro")))(pair)
    assert set(errors) == set(ablation_switches.SWITCHES)
    assert errors["whole"] < 0.1 and errors["followed"] < 0.1 and errors["ecc"] < 0.3
    assert errors["followed"] <= errors["refined"] <= errors["coarse"] + 0.5


def test_a_remembering_matcher_says_what_a_matcher_says_and_looks_once(pair, monkeypatch):
    model = load_model(shipped("micro"))
    plain = Matcher(model, device="cpu").match(pair.image_0, pair.image_1)
    remembering = ablation_switches.Remembering(model, {})
    first = remembering.match(pair.image_0, pair.image_1)
    assert np.array_equal(plain.points_1, first.points_1)
    monkeypatch.setattr(remembering, "_points", lambda *_, **__: pytest.fail("it looked again"))
    assert np.array_equal(remembering.match(pair.image_0, pair.image_1).points_1, first.points_1)
    sure = ablation_switches.Remembering(model, remembering.seen, votes=0.999)
    thumbs = as_image(pair.image_0).pixels, as_image(pair.image_1).pixels
    assert len(sure._all_points(*thumbs)[0]) < len(remembering._all_points(*thumbs)[0])


def test_settings_of_the_search_are_put_back():
    before = proposals.TURNS, proposals.CLEAR
    with pytest.raises(ParameterError), ablation_switches.proposing(TURNS=(0,), CLEAR=9.0):
        assert (proposals.TURNS, proposals.CLEAR) == ((0,), 9.0)
        raise ParameterError("x")
    assert before == (proposals.TURNS, proposals.CLEAR)


def test_ecc_mends_a_homography_that_is_a_pixel_off_and_leaves_one_without_support(pair):
    off = pair.homography + np.array([[0, 0, 1.0], [0, 0, -0.7], [0, 0, 0]])
    mended = ablation_switches.aligned_by_ecc(pair.image_0, pair.image_1, off, "grey")
    assert np.abs(mended - pair.homography)[:2, 2].max() < 0.1
    noise = np.random.default_rng(1).random(pair.image_1.shape).astype(np.float32)
    blank = np.full_like(pair.image_0, 0.5)
    assert np.array_equal(ablation_switches.aligned_by_ecc(blank, noise, off, "grey"), off)


# --- differences


def test_differences_are_paired_and_ties_hold_zero():
    generator = np.random.default_rng(0)
    others = generator.random((4, 8))
    assert difference(others + 0.05, others, "right_cells", SOURCES)["verdict"] == "better"
    assert difference(others, others, "right_cells", SOURCES)["verdict"] == "tie"
    noisy = others + generator.normal(0, 0.2, others.shape)
    assert difference(noisy, others, "right_cells", SOURCES)["verdict"] == "tie"
    failing = np.where(np.arange(8) < 6, np.inf, others)
    told = difference(failing, others, "failures", SOURCES)
    assert told["verdict"] == "worse" and told["difference"] == 0.75 and 0.3 < told["low"] < told["high"] <= 1
    assert difference(others + 1, others, "right_cells", ["s"] * 8)["low"] is None


def test_errors_are_kept_without_infinity_and_read_again():
    kept = stored({"easy": [0.123456, math.inf], "hard": [2.0, 3.0]})
    assert kept == {"easy": [0.1235, None], "hard": [2.0, 3.0]}
    assert np.array_equal(table_of(kept), [[0.1235, np.inf], [2, 3]])
    row = compared({"errors": kept}, None, {"errors": ["a", "b"]})
    assert row["failures"] == {"value": 0.25} and "right_cells" not in row
    assert row["levels"]["easy"] < 0.5 and row["levels"]["hard"] < row["levels"]["easy"]


# --- the command


@pytest.fixture
def judged(monkeypatch) -> list[str]:
    """The command with nothing trained: what it would have trained, in order."""
    asked: list[str] = []
    generator = np.random.default_rng(0)
    good = generator.random((4, 8))
    monkeypatch.setattr(ablation_summary, "RESAMPLES", 40)
    monkeypatch.setattr(
        ablations, "validation_pairs", lambda count: {"easy": [replace(PAIR, source=s) for s in SOURCES]}
    )
    monkeypatch.setattr(ablations, "cell_sources", lambda: SOURCES)

    def entry(variant, steps, levels, folder):
        asked.append(variant.key)
        worse = 0.2 * (variant.key == "first") + 0.01 * variant.seed
        values = {level: (row + worse).round(4).tolist() for level, row in zip("abcd", good, strict=True)}
        return {**ablations.settings(variant, steps), "words": variant.words, "errors": values, "cells": values}

    monkeypatch.setattr(ablations, "train_and_judge", entry)
    errors = {level: [0.1, None] * 4 for level in "ab"}
    monkeypatch.setattr(
        ablations, "switch_off", lambda *_: {key: {"errors": errors} for key in ablation_switches.SWITCHES}
    )
    return asked


PAIR = Pair("p", "easy", "s", np.zeros((8, 8)), np.zeros((8, 8)), np.eye(3), 0.0, (8, 8), (8, 8))


def test_the_command_keeps_each_variant_and_goes_on(tmp_path, judged, capsys):
    where = ["--results", str(tmp_path)]
    assert ablations.main(["--only", "base,first", *where]) == 0
    assert judged == ["base", "base-seed-1", "first"]
    assert ablations.main(["--only", "first,near,inference", *where]) == 0
    assert judged[3:] == ["near"]
    values = read_result("ablations", tmp_path)["values"]
    assert list(values["trained"]["rows"]) == ["base", "first", "near", "base-seed-1"]
    assert values["trained"]["rows"]["first"]["auc_3"]["verdict"] == "worse"
    assert values["trained"]["rows"]["near"]["auc_3"]["verdict"] == "tie"
    assert list(values["inference"]["rows"]) == list(ablation_switches.SWITCHES)
    assert ablations.main(["--only", "first", "--again", *where]) == 0 and judged[4:] == ["first"]
    assert ablations.main(["--only", "first", "--results", str(tmp_path), "--steps", "9"]) == 0 and judged[5:] == [
        "first"
    ]
    assert "the mixture of the first weights" in capsys.readouterr().out
    longer = read_result("ablations_9", tmp_path)["values"]["trained"]["entries"]  # beside the record, not in it
    assert list(longer) == ["first"] and longer["first"]["steps"] == 9
    assert len(read_result("ablations", tmp_path)["values"]["trained"]["entries"]) > 1
    assert (tmp_path / "ablations.png").stat().st_size < 120_000


def test_entries_tell_settings_commits_and_weights(tmp_path, monkeypatch):
    weights, asked = shipped("micro"), []
    by_level = {"easy": [0.5, math.inf]}
    monkeypatch.setattr(ablations, "trained", lambda variant, steps, folder: asked.append(folder.name) or weights)
    monkeypatch.setattr(ablations, "right_cells", lambda _, turned=True: {"easy": [float(turned)]})
    monkeypatch.setattr(ablations, "errors_of", lambda *_: by_level)
    monkeypatch.setattr(ablations, "switched", lambda *_: {key: by_level for key in ablation_switches.SWITCHES})
    unturned = variants.chosen(["everything-unturned"])[0]
    entry = ablations.train_and_judge(unturned, 8, {}, tmp_path)
    assert asked == ["everything"] and entry["cells"] == {"easy": [0.0]} and entry["errors"] == {"easy": [0.5, None]}
    assert entry["steps"] == 8 and entry["trained_at"] == recipe_of(weights)["commit"] and entry["turns"] is False
    start = variants.chosen(["start"])[0]
    assert ablations.settings(start, 8)["steps"] == 0
    entries = ablations.switch_off("micro", {})
    assert entries["whole"]["cells"] == {"easy": [1.0]} and "cells" not in entries["grey"]
    assert {told["weights_sha256"] for told in entries.values()} == {entry["weights_sha256"]}


def test_a_record_of_other_pairs_is_begun_anew(tmp_path, judged):
    ablations.main(["--only", "base", "--results", str(tmp_path), "--pairs", "3"])
    for pairs in (3, 4):
        assert bool(ablations.begun("ablations", tmp_path, pairs)["trained"]["entries"]) == (pairs == 3)


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--steps", "0"], ["--seeds", "0,x"]])
def test_bad_words_are_told_before_anything_begins(tmp_path, judged, words):
    with pytest.raises(ParameterError):
        ablations.main([*words, "--results", str(tmp_path)])
    assert not judged and not list(tmp_path.iterdir())


# --- tables and figure


def test_tables_and_figure_say_what_is_a_tie(tmp_path, judged):
    assert "No variant" in trained_table({"values": ablations.begun("ablations", tmp_path, 1)})
    assert draw_ablations(ablations.begun("ablations", tmp_path, 1)) is None
    ablations.main(["--only", "base,first,near,inference", "--results", str(tmp_path)])
    record = read_result("ablations", tmp_path)
    lines = {line.split(" | ")[0].strip("| "): line for line in trained_table(record).splitlines()}
    assert " = " in lines["rotations to 12° and scales to 1.1 only"] and "=" not in lines["base"]
    assert "= " not in lines["the mixture of the first weights"].split("|")[3]
    assert "0.500" in inference_table(record)
    rows = record["values"]["trained"]["rows"]
    lines = lines_of(rows)
    low, high = seed_band(rows, "auc_3")
    assert [label for label, row in lines if row is None] == ["trained, against base:"] and low == -high
    assert high == abs(rows["base-seed-1"]["auc_3"]["difference"])
    figure = draw_ablations(record["values"])
    drawn = figure.axes[0].get_lines()
    hollow = [line.get_markerfacecolor() == "#ffffff" for line in drawn if line.get_marker() == "o"]
    assert len(figure.axes) == 4 and len(hollow) == len(lines) - 1 and set(hollow) == {True, False}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [label for label, _ in lines]


def test_a_verdict_over_seeds_is_a_tie_unless_all_agree():
    def row(difference: float, verdict: str) -> dict:
        return {"right_cells": {"value": 0.5, "difference": difference, "verdict": verdict}}

    rows = {
        "base": {"right_cells": {"value": 0.5}},
        "plain": row(0.04, "better"),
        "near": row(-0.03, "worse"),
        "wider": row(0.01, "better"),
        "base-seed-1": row(0.0, "tie"),
        "plain-seed-1": row(0.02, "better"),
        "near-seed-1": row(0.01, "tie"),
    }
    told = ablation_summary.over_seeds(rows)
    assert set(told) == {"plain", "near"}  # one seed is no verdict over seeds, and the base is what others stand beside
    assert told["plain"] == {"differences": [0.04, 0.02], "verdicts": ["better", "better"], "verdict": "better"}
    assert told["near"]["verdict"] == "tie"


def test_a_variant_judged_by_its_cells_alone_says_nothing_of_the_matcher():
    cells = {"easy": [0.5, 0.7, 0.2], "hard": [0.1, 0.2, 0.3]}
    better = {level: [value + 0.1 for value in row] for level, row in cells.items()}
    errors = {"easy": [1.0, 2.0, None], "hard": [0.5, 0.1, 9.0]}
    sources = {"cells": list("abc"), "errors": list("abc")}
    row = ablation_summary.compared({"cells": better}, {"cells": cells, "errors": errors}, sources)
    assert row["right_cells"]["difference"] == pytest.approx(0.1) and set(row) == {"right_cells", "levels"}
    assert row["levels"] == {}
