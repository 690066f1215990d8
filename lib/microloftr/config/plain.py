"""The configuration as plain dataclasses: what the training core reads from JSON, without Hydra."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from microloftr.data.levels import LEVELS, MIXTURES
from microloftr.data.wider import WIDER
from microloftr.errors import ConfigError
from microloftr.model.presets import ModelConfig, model_config
from microloftr.training.step import LossWeights

JUDGED = ("easy", "medium")  # hard and extreme turn by ±180°, which is the Matcher's search and not the network's
MATCHERS = ("micro", "one_conv", "rootsift", "xfeat", "phase_correlation", "micro-random", "micro-zeros")

NAMED = (  # what else get_matcher knows by a plain word; dotted names, paths and NAME-random it looks for by itself
    "orb", "akaze", "ecc", "rootsift_ecc", "kornia_sift", "kornia_hessian", "kornia_registrator", "kornia_loftr",
    "aliked_lightglue", "loftr",
)  # fmt: skip
LEAST = dict.fromkeys(("steps", "decay", "validate_every", "validation_pairs", "devices", "nodes"), 1) | dict.fromkeys(
    ("warmup", "patience", "draw_every"), 0
)


@dataclass(frozen=True)
class DataConfig:
    """Where pairs come from."""

    folder: str = "bundled"  # or the path of a folder or manifest of micrographs
    wider: str = "none"  # photographs, textures or both beside the micrographs that are learnt from
    mixture: str = "train"  # one of data/levels.py's mixtures, or one level
    crop: int = 144  # side of the crops, pixels
    batch: int = 16  # pairs per step


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    run: str = "micro"  # name of the run's folder
    out: str = "runs"  # where the runs' folders lie
    init: str = "none"  # none, xfeat (its package), the name or path of weights, or a run's checkpoint
    seed: int = 0
    steps: int = 2500
    lr: float = 6e-4
    backbone_lr: float = 3e-4
    warmup: int = 200
    decay: int = 600  # the last steps, over which the learning rate falls to 1 % of itself
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.998  # decay of the exponential average of the weights, which is what is validated and shipped
    precision: str = "bf16"  # bf16 or 32
    device: str = "auto"
    compile: bool = False  # torch.compile, for a GPU; costs a minute or two at the start
    validate_every: int = 250
    validation_pairs: int = 32  # of each level
    judged: list[str] = field(default_factory=lambda: [*JUDGED])  # levels whose mean loss decides what is best
    patience: int = 0  # validations without a gain after which the run stops, its best average shipped; 0: never
    min_delta: float = 0.0  # what counts as a gain
    max_loss: float = 100.0  # a larger loss, or none, stops the run; guessing costs ln N + ln M, below 20
    draw_every: int = 0  # steps between pictures of what is predicted for two fixed pairs; 0: none
    devices: int = 1  # processes side by side on a machine, each with its share of every batch
    nodes: int = 1  # machines
    loss: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class EvalConfig:
    """What `python -m microloftr evaluate` compares, and on which pairs."""

    matchers: list[str] = field(default_factory=lambda: [*MATCHERS])
    levels: list[str] = field(default_factory=lambda: [*LEVELS])  # of made pairs; [] for none
    split: str = "validation"  # validation to choose by, test for the final tables alone
    real: str = ""  # a folder with pairs.json, else what MICROLOFTR_PAIRS names
    hpatches: str = ""  # a folder of HPatches sequences
    landmarks: str = ""  # a folder of images with landmarks, or ANHIR's table
    whole: str = ""  # whole micrographs instead of crops: bundled, or a folder
    limit: int = 0  # pairs of each level: a quick look, nothing is written; 0: all
    jobs: int = 1  # processes that match side by side, of one thread each
    force: bool = False  # predict again where files are there
    retime: bool = False  # measure the seconds again


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)


def of_training(config: Config) -> dict[str, Any]:
    """The groups that decide a run, as plain values: model, data, train."""
    values = asdict(config)
    return {group: values[group] for group in ("model", "data", "train")}


def config_of(values: dict[str, Any]) -> Config:
    """The configuration from nested plain values, as JSON holds them; a key that is not there has its default.

    So a run that began before a key was there goes on. Raises ConfigError naming a wrong key.
    """
    loss = LossWeights(**_known(values.get("train", {}), "loss", LossWeights))
    config = Config(
        model=model_config(_known(values, "model", ModelConfig)),
        data=DataConfig(**_known(values, "data", DataConfig)),
        train=TrainConfig(**_known(values, "train", TrainConfig) | {"loss": loss}),
        eval=EvalConfig(**_known(values, "eval", EvalConfig)),
    )
    return checked(config)


def _known(values: dict[str, Any], group: str, kind: type) -> dict[str, Any]:
    """Values of a group, all of whose keys `kind` has."""
    given = values.get(group, {})
    names = {field.name for field in fields(kind)}
    if unknown := sorted(set(given) - names):
        raise ConfigError(f"the configuration has the unknown key {group}.{unknown[0]}; {group} knows {sorted(names)}")
    return given


def checked(config: Config) -> Config:
    """The configuration itself, or ConfigError where a value is out of range or does not go with another."""
    data, train = config.data, config.train
    if data.wider not in WIDER:
        raise ConfigError(f"data.wider is {data.wider!r}; it must be one of {', '.join(WIDER)}")
    if data.mixture not in MIXTURES:
        raise ConfigError(f"data.mixture is {data.mixture!r}; it must be one of {', '.join(MIXTURES)}")
    if data.crop < 64 or data.crop % 16:
        raise ConfigError(f"data.crop is {data.crop}; it must be a multiple of 16 and at least 64")
    if train.precision not in ("bf16", "32"):
        raise ConfigError(f"train.precision is {train.precision!r}; it must be bf16 or 32")
    for name, least in LEAST.items():
        if getattr(train, name) < least:
            raise ConfigError(f"train.{name} is {getattr(train, name)}; it must be at least {least}")
    if not train.run.strip():
        raise ConfigError("train.run is empty; it must be the name of the run's folder, as train.run=mine")
    if not train.judged or set(train.judged) - set(LEVELS):
        raise ConfigError(f"train.judged is {[*train.judged]}; it must name one or more of {', '.join(LEVELS)}")
    if data.batch < 1 or train.seed < 0:
        raise ConfigError(f"data.batch is {data.batch} and train.seed {train.seed}; at least 1 and 0 are needed")
    for name, low, high in (
        ("lr", 0, 1),
        ("backbone_lr", 0, 1),
        ("weight_decay", 0, 1),
        ("clip", 0, math.inf),
        ("average", 0, 1),
        ("min_delta", 0, math.inf),
        ("max_loss", 0, math.inf),
    ):
        if not low <= getattr(train, name) <= high:
            raise ConfigError(f"train.{name} is {getattr(train, name)}; it must be from {low} to {high}")
    for name in ("coarse", "matchability", "heat", "offset"):
        if not 0 <= getattr(train.loss, name) < math.inf:
            raise ConfigError(f"train.loss.{name} is {getattr(train.loss, name)}; it must be 0 or more, and finite")
    if data.batch % (train.devices * train.nodes):
        raise ConfigError(
            f"data.batch {data.batch} does not split over train.devices {train.devices} × train.nodes {train.nodes}; "
            f"choose a multiple of {train.devices * train.nodes}"
        )
    if train.patience and train.steps % train.validate_every:
        raise ConfigError(
            f"train.steps {train.steps} is no multiple of train.validate_every {train.validate_every}; with "
            f"train.patience the last step must be validated, too"
        )
    if not config.eval.matchers:
        raise ConfigError(f"eval.matchers is empty; name one or more, as eval.matchers=[{MATCHERS[0]},{MATCHERS[2]}]")
    if unknown := [name for name in config.eval.matchers if not _nameable(name)]:
        raise ConfigError(
            f"eval.matchers has {unknown[0]!r}; choose among {', '.join((*MATCHERS, *NAMED))}, or give a file of "
            f"weights or the dotted name of a class"
        )
    if unknown := sorted(set(config.eval.levels) - set(LEVELS)):
        raise ConfigError(f"eval.levels has {unknown[0]!r}; choose among {', '.join(LEVELS)}")
    if config.eval.split not in ("validation", "test"):
        raise ConfigError(f"eval.split is {config.eval.split!r}; it must be validation or test")
    if config.eval.limit < 0 or config.eval.jobs < 1:
        raise ConfigError(
            f"eval.limit is {config.eval.limit} and eval.jobs {config.eval.jobs}; at least 0 and 1 are needed"
        )
    if not 0 <= train.loss.jitter <= 1 or train.loss.refined_per_pair < 1:
        raise ConfigError("train.loss.jitter must be from 0 to 1, and train.loss.refined_per_pair at least 1")
    return config


def _nameable(matcher: str) -> bool:
    """Whether a name is a plain word that is known, or one that leads somewhere else: a path, a dotted name, …"""
    return matcher in (*MATCHERS, *NAMED) or any(mark in matcher for mark in "./:-")
