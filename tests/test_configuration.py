"""One typed configuration: groups, presets, overrides, and errors that name the field and the choice."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

import microloftr.config
from microloftr.__main__ import main
from microloftr.config import load_config
from microloftr.config.keys import GROUPS, presets
from microloftr.config.plain import MATCHERS, NAMED, Config, config_of
from microloftr.config.schema import several
from microloftr.errors import ConfigError
from microloftr.evaluation import predict_and_score
from microloftr.evaluation.matchers import BASELINES, DEFAULT_MATCHERS
from microloftr.model.presets import PRESETS
from microloftr.results import read_result

FOLDER = Path(microloftr.config.__file__).parent
PRESET_FILES = [path for group in GROUPS for path in sorted((FOLDER / group).glob("*.yaml"))]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=3", "'train.stepz=3' has the unknown key train.stepz; did you mean train.steps?"),
        ("modl=micro", "'modl=micro' has the unknown key modl; did you mean model?"),
        ("train.loss.jiter=0.1", "unknown key train.loss.jiter; did you mean train.loss.jitter?"),
        ("eval.matcher=[micro]", "unknown key eval.matcher; did you mean eval.matchers?"),
        ("hydra.job.name=x", "unknown key hydra.job.name; choose from model, data, train, eval"),
        ("train.steps=many", "train.steps is 'many'; it must be a whole number"),
        ("data.crop=96.5", "data.crop is '96.5'; it must be a whole number"),
        ("train.lr=fast", "train.lr is 'fast'; it must be a number"),
        ("train.lr=", "train.lr is ''; it must be a number"),
        ("train.compile=maybe", "train.compile is 'maybe'; it must be true or false"),
        ("eval.matchers=micro", "eval.matchers is 'micro'; it must be a list, as eval.matchers=[a,b]"),
        ("train.loss=3", "train.loss is '3'; it must be set by its keys, as train.loss.coarse="),
        ("+train.extra=1", "unknown key train.extra"),
        ("+train.steps=1", "'+train.steps=1' would add or remove a key; train.steps exists: write train.steps=VALUE"),
        ("++train.steps=1", "'++train.steps=1' would add or remove a key; train.steps exists"),
        ("~train.steps", "'~train.steps' would add or remove a key; train.steps exists"),
        ("train.steps", "'train.steps' gives no value; write KEY=VALUE"),
        ("train.steps=1,2", "'train.steps=1,2' has several values; python -m microloftr sweep tries each"),
        ("train.init=a=b", "an override cannot be read"),
        ("train@x=cpu", "'train@x=cpu' is Hydra's own business"),
        ("model=loftr9", "there is no model=loftr9; choose from model=loftr, model=micro, model=one_conv"),
        ("train=schema", "there is no train=schema; choose from train=cpu"),
        ("model.heads=3", "model.dim 128 does not split into model.heads 3"),
        ("model.dim=130", "model.dim 130 does not split into model.heads 4"),
        ("model.attention=none", "model.attention is 'none'; it must be full or linear"),
        ("data.crop=100", "data.crop is 100; it must be a multiple of 16"),
        ("data.mixture=nightmare", "must be one of train, first"),
        ("data.batch=0", "data.batch is 0"),
        ("train.devices=3", "data.batch 16 does not split over train.devices 3"),
        ("train.precision=fp16", "train.precision is 'fp16'; it must be bf16 or 32"),
        ("train.seed=-1", "train.seed -1"),
        ("train.average=2", "train.average is 2"),
        ("train.loss.coarse=-1", "train.loss.coarse is -1.0; it must be 0 or more, and finite"),
        ("train.loss.heat=inf", "train.loss.heat is inf; it must be 0 or more, and finite"),
        ("train.loss.offset=nan", "train.loss.offset is nan"),
        ("train.run=''", "train.run is empty; it must be the name of the run's folder"),
        ("train.warmup=5000", "train.warmup is 5000 and train.steps 2500"),
        ("train.judged=[]", "train.judged is []; it must name one or more of easy, medium, hard, extreme"),
        ("train.judged=[simple]", "train.judged is ['simple']; it must name one or more of easy"),
        ("eval.matchers=[]", "eval.matchers is empty; name one or more, as eval.matchers=[micro,rootsift]"),
        ("eval.matchers=[micro,sift]", "eval.matchers has 'sift'; choose among micro, one_conv, rootsift"),
        ("train.patience=-1", "train.patience is -1; it must be at least 0"),
        ("eval.levels=[simple]", "eval.levels has 'simple'; choose among easy, medium, hard, extreme"),
        ("eval.split=train", "eval.split is 'train'; it must be validation or test"),
        ("eval.jobs=0", "eval.jobs 0"),
    ],
)
def test_an_error_names_the_field_and_the_choice(override, message):
    with pytest.raises(ConfigError) as caught:
        load_config([override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_patience_needs_a_last_validation():
    with pytest.raises(ConfigError, match=r"train.steps 100 is no multiple of train.validate_every 40"):
        load_config(["train.steps=100", "train.warmup=9", "train.validate_every=40", "train.patience=2"])


def test_every_preset_of_the_model_is_what_the_configuration_gives():
    assert set(presets("model")) == set(PRESETS)
    for name, preset in PRESETS.items():
        assert load_config([f"model={name}"]).model == preset
    assert load_config(["model.layers=2"]).model == replace(PRESETS["micro"], layers=2)


@pytest.mark.parametrize("path", PRESET_FILES, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_a_preset_loads_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ") and len(text.split("defaults:")[0].splitlines()) >= 1
    chosen = load_config([f"{path.parent.name}={path.stem}", "train.out=elsewhere"])
    values = yaml.safe_load(text)
    values.pop("defaults")
    group = getattr(chosen, path.parent.name)
    for key, value in values.items():
        if key != "out":
            assert getattr(group, key) == (float(value) if isinstance(getattr(group, key), float) else value)
    comment = " ".join(text.split("defaults:")[0].replace("#", " ").split())
    assert "python -m microloftr" in comment or "make train" in comment
    assert any(word in comment for word in ("minute", "hour"))
    assert "xpect" in comment or "weights/" in comment


def test_a_run_of_before_goes_on_though_its_configuration_lacks_a_key_or_warms_up_too_long():
    values = asdict(Config())
    values["train"].pop("judged")
    values["train"] |= {"steps": 100, "warmup": 200}
    assert config_of(values).train.judged == ["easy", "medium"]


def test_names_of_matchers_are_those_that_evaluation_knows():
    assert {*MATCHERS, *NAMED} >= set(BASELINES)
    for name in ("mine.safetensors", "package.module.Class", "micro-random", "kornia_loftr:/weights", "loftr-outdoor"):
        assert load_config([f"eval.matchers=['{name}']"]).eval.matchers == [name]


def test_the_preset_of_the_baseline_is_how_its_weights_were_made():
    command = read_result("training_one_conv")["values"]["recipe"]["command"]
    assert load_config(["model=one_conv", "train=one_conv"]) == load_config(command.split()[4:])


def test_overrides_are_a_list_or_a_text():
    by_text = load_config("train.steps=700 'train.run=my run' model=one_conv")
    assert by_text == load_config(["train.steps=700", "train.run=my run", "model=one_conv"])
    assert (by_text.train.steps, by_text.train.run, by_text.model.preset) == (700, "my run", "one_conv")


def test_commas_are_every_combination():
    lines = several(["train.lr=1e-4,1e-3", "train.seed=0,1", "model=one_conv"])
    assert lines == [
        ["train.lr=0.0001", "train.seed=0", "model=one_conv"],
        ["train.lr=0.0001", "train.seed=1", "model=one_conv"],
        ["train.lr=0.001", "train.seed=0", "model=one_conv"],
        ["train.lr=0.001", "train.seed=1", "model=one_conv"],
    ]
    assert [load_config(line).train.seed for line in lines] == [0, 1, 0, 1]
    with pytest.raises(ConfigError, match=r"train.stepz"):
        several(["train.stepz=1,2"])


def test_evaluate_takes_its_group():
    assert MATCHERS == DEFAULT_MATCHERS
    given = predict_and_score.defaults([])
    assert given["matchers"] == ",".join(DEFAULT_MATCHERS) and given["levels"] == "easy,medium,hard,extreme"
    assert (given["split"], given["limit"], given["real"], given["jobs"]) == ("validation", None, None, 1)
    assert given["force"] is False
    given = predict_and_score.defaults(["eval=quick", "eval.levels=[easy]", "eval.split=test"])
    assert (given["matchers"], given["levels"], given["limit"]) == ("micro,one_conv", "easy", 10)
    assert given["split"] == "test"


def test_evaluate_goes_by_its_group_and_its_flags_go_first(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr(
        predict_and_score, "predict_and_score", lambda matchers, protocols, **more: seen.update(more, m=matchers) or {}
    )
    monkeypatch.setattr(
        predict_and_score, "get_protocol", lambda name, *_: type("P", (), {"record": "evaluate", "name": name})
    )
    assert main(["evaluate", "eval.limit=3", "eval.matchers=[rootsift]", "--jobs", "2"]) == 0
    assert (seen["m"], seen["jobs"], seen["results"]) == (["rootsift"], 2, None)
    assert main(["evaluate", "eval.matchers=[rootsift]", "--matchers", "micro", "eval.limit=1"]) == 0
    assert seen["m"] == ["micro"]
    assert main(["evaluate", "train.steps=3"]) == 2
    assert "'train.steps=3' is no setting of evaluate" in capsys.readouterr().err
