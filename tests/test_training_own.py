"""Fine-tuning on one's own micrographs: the preset, what is held out, clear errors, and the report."""

import os
import re
from functools import partial
from pathlib import Path

import pytest

from microloftr.__main__ import main
from microloftr.config import load_config, schema
from microloftr.data.micrographs import load_micrographs
from microloftr.errors import ConfigError, ParameterError
from microloftr.evaluation.own_example import JUDGED, LEARNT, MODALITY
from microloftr.evaluation.own_images import training_minutes
from microloftr.model.weights import random_model, save_weights
from microloftr.results import read_result, write_result
from microloftr.training.own import own_micrographs
from tests.training_run import overrides, write_micrograph, write_source


def plain(folder, *names, width=240, height=200):
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        write_micrograph(folder / f"{name}.png", seed, width, height)
    return load_config([f"data.folder={folder}", "data.crop=64"])


def names(micrographs):
    return [one.name for one in micrographs]


def test_weights_and_a_folder_of_ones_own_are_fine_tuning():
    own = load_config(["data.folder=mine", "train.init=micro"])
    first = load_config([])
    assert own.train.steps < first.train.steps and own.train.lr < first.train.lr
    assert (own.train.run, own.train.init) == ("mine", "micro")
    assert load_config(["data.folder=mine", "train.init=micro", "train.run=a", "train.steps=70"]).train.steps == 70
    assert load_config(["data.folder=mine", "train.init=micro", "train=cpu"]).train.steps == first.train.steps
    for others in (["data.folder=mine"], ["train.init=micro"], ["data.folder=mine", "train.init=xfeat"]):
        assert load_config(others).train.steps == first.train.steps


def test_every_preset_of_training_loads_and_says_its_time_or_that_it_is_not_known():
    for path in sorted((Path(schema.__file__).parent / "train").glob("*.yaml")):
        assert load_config([f"train={path.stem}"]).train.steps > 0
        head = path.read_text(encoding="utf-8").split("defaults:")[0]
        assert "make train" in head or "python -m microloftr train" in head
        assert "minutes" in head or "Not yet run" in head


@pytest.mark.parametrize("name", ["cpu", "finetune"])
def test_the_minutes_of_a_preset_are_those_that_were_measured(name):
    path = Path(schema.__file__).parent / "train" / f"{name}.yaml"
    head = " ".join(path.read_text(encoding="utf-8").split("defaults:")[0].replace("#", " ").split())
    found = re.search(r"([\d,]+) pairs .*? (\d+) minutes", head).groups()
    pairs, minutes = (int(number.replace(",", "")) for number in found)
    config = load_config([f"train={name}"])
    assert pairs == config.train.steps * config.data.batch
    measured = read_result("training_speed")["values"]["minutes_per_10000_pairs"] * pairs / 10_000
    assert 0.9 * measured < minutes < 1.4 * measured  # validation comes on top


def test_one_specimen_in_five_is_held_out_of_a_small_folder(tmp_path):
    config = plain(tmp_path / "a", *(f"cell{k}_{n}" for k in "pqrstu" for n in (1, 2)))
    learnt, held_out = own_micrographs(config)
    assert len(learnt) + len(held_out) == 12
    assert {one.specimen for one in learnt}.isdisjoint(one.specimen for one in held_out)
    assert {one.split for one in learnt} == {"train"} and {one.split for one in held_out} == {"validation"}
    learnt, held_out = own_micrographs(plain(tmp_path / "b", *(f"tile_{k:02d}" for k in range(7))))  # of one specimen
    assert names(held_out) == ["tile_00", "tile_05"]
    assert len(learnt) == 5


def test_a_manifest_says_the_split_itself(tmp_path):
    learnt, held_out = own_micrographs(load_config([f"data.folder={write_source(tmp_path)}", "data.crop=64"]))
    assert (names(learnt), names(held_out)) == (["a", "b"], ["c"])


def test_too_few_or_too_small_micrographs_are_one_clear_sentence(tmp_path):
    with pytest.raises(ConfigError, match="holds one micrograph; at least 2 are needed"):
        own_micrographs(plain(tmp_path / "one", "a"))
    with pytest.raises(ConfigError, match=r"has 90×120 pixels, and crops of data\.crop=64 need 96 on each side"):
        plain(tmp_path / "small", "a")
        own_micrographs(plain(tmp_path / "small", "b", "c", width=90, height=120))
    with pytest.raises(ParameterError, match="is neither a folder nor a manifest"):
        own_micrographs(load_config([f"data.folder={tmp_path / 'none'}"]))


def test_the_report_compares_before_and_after_on_the_same_pairs(tmp_path, monkeypatch, capsys):
    write = partial(write_result, folder=tmp_path / "results")
    monkeypatch.setattr("microloftr.evaluation.own_images.write_result", lambda *a, folder, **k: write(*a, **k))
    monkeypatch.setattr("microloftr.evaluation.own_images.LEVELS", ("easy",))
    init = save_weights(random_model("one_conv"), tmp_path / "start.safetensors", {})
    options = overrides(write_source(tmp_path), tmp_path / "runs", f"train.init={init}", "train.run=mine")
    assert main(["finetune-report", *options]) == 2
    assert "train first" in capsys.readouterr().err
    after = save_weights(random_model("one_conv", 1), tmp_path / "runs" / "mine" / "weights.safetensors", {"steps": 5})
    assert main(["finetune-report", *options, "--pairs", "1"]) == 0
    shown = capsys.readouterr().out
    record = read_result("finetune", tmp_path / "results")
    values = record["values"]
    assert (values["learnt_from"], values["held_out"], values["recipe"]["steps"]) == (2, 1, 5)
    before, trained = values["levels"]["easy"]["before"], values["levels"]["easy"]["after"]
    assert before["n"] == trained["n"] == 1
    assert before["matches"] != trained["matches"]
    assert f"{before['auc_3']:.2f} → {trained['auc_3']:.2f}" in shown
    cells = values["cells_right"]["easy"]
    assert 0 <= cells["before"] <= 1 and f"{cells['before']:.2f} → {cells['after']:.2f}" in shown
    assert values["files"] == {"learnt": ["a", "b"], "held_out": ["c"]} and values["modalities"] == ["sem"]
    of_before, of_after = (values["weights"][when] for when in ("before", "after"))
    assert (of_before["name"], of_after["name"]) == ("start.safetensors", "weights.safetensors")
    assert of_before["weights_sha256"] != of_after["weights_sha256"] and len(of_after["weights_sha256"]) == 64
    assert values["training_minutes"] is None  # there was no run
    after.unlink()
    assert main(["finetune-report", "train.init=none", f"data.folder={tmp_path}", f"train.out={tmp_path}"]) == 2


def test_the_minutes_of_a_run_are_those_of_its_files(tmp_path):
    for name, minutes in (("config.yaml", 0), ("weights.safetensors", 7.25)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 + 60 * minutes,) * 2)
    assert training_minutes(tmp_path) == pytest.approx(7.25, abs=0.06)
    (tmp_path / "metrics.000.csv").touch()  # it was stopped and went on
    assert training_minutes(tmp_path) is None


def test_the_example_judges_by_other_specimens_than_it_learns_from(tmp_path, capsys):
    folder = tmp_path / "example"
    for _ in range(2):  # a second time changes nothing
        assert main(["finetune-example", str(folder)]) == 0
    assert f"train data.folder={folder} train.init=micro" in capsys.readouterr().out
    learnt, held_out = own_micrographs(load_config([f"data.folder={folder}", "train.init=micro"]))
    assert sorted(one.specimen for one in learnt) == sorted(LEARNT)
    assert sorted(one.specimen for one in held_out) == sorted(JUDGED)
    trained_on = {one.specimen for one in load_micrographs("train")}
    assert trained_on.isdisjoint((*LEARNT, *JUDGED)) and {one.modality for one in held_out} == {MODALITY}
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    assert main(["finetune-example", str(tmp_path / "other")]) == 2
