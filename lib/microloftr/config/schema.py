"""The typed schema, checked by Hydra and OmegaConf: a misspelt key or a wrong type is an error that names it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microloftr.data.levels import MIXTURES
from microloftr.errors import ConfigError
from microloftr.model.presets import PRESETS, ModelConfig
from microloftr.training.step import LossWeights


@dataclass(frozen=True)
class DataConfig:
    """Where pairs come from."""

    source: str = "bundled"  # or the path of a folder or manifest of micrographs
    mixture: str = "train"  # or one level
    crop: int = 144  # side of the crops, pixels
    batch: int = 16  # pairs per step


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    run: str = "micro"  # name of the run's folder
    out: str = "runs"  # where the runs' folders lie
    init: str = "none"  # none, xfeat (its package), or the path or name of weights
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
    validate_every: int = 250
    validation_pairs: int = 32  # of each level
    loss: LossWeights = field(default_factory=LossWeights)


@dataclass(frozen=True)
class Config:
    """The whole configuration."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)


def _register() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=_writable(Config))
    for name, preset in PRESETS.items():
        store.store(group="model", name=name, node=_writable(preset))
    store.store(group="data", name="schema", node=_writable(DataConfig))
    store.store(group="train", name="schema", node=_writable(TrainConfig))


def _writable(node: object) -> DictConfig:
    """A structured node that overrides may change, though its dataclass is frozen."""
    config = OmegaConf.structured(node)
    for part in (config, *(value for value in config.values() if isinstance(value, DictConfig))):
        OmegaConf.set_readonly(part, None)
        for value in part.values():
            if isinstance(value, DictConfig):
                OmegaConf.set_readonly(value, None)
    return config


def load_config(overrides: Sequence[str] = ()) -> Config:
    """The configuration with overrides such as "train.steps=100" or "model=one_conv".

    Raises ConfigError for a key that does not exist (also with + and ++, which Hydra itself would let through), a value
    of the wrong type, and values that do not go together.
    """
    for override in overrides:
        if override.lstrip().startswith(("+", "~")):
            raise ConfigError(f"{override!r} would add or remove a key; write KEY=VALUE with a key that exists")
        if override.startswith("hydra.") or override.endswith("=schema"):
            raise ConfigError(f"{override!r} is Hydra's own business; the groups are model, data and train")
    _register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("microloftr.config", version_base="1.3"):
            composed = compose("config", overrides=list(overrides))
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        causes = [str(error), str(error.__cause__ or "")]
        reason = " ".join(" ".join(causes).split())
        raise ConfigError(f"the configuration does not allow this: {reason}") from error
    return _checked(config)


def _checked(config: Config) -> Config:
    data, train = config.data, config.train
    if data.mixture not in MIXTURES:
        raise ConfigError(f"data.mixture is {data.mixture!r}; it must be one of {', '.join(MIXTURES)}")
    if data.crop < 64 or data.crop % 16:
        raise ConfigError(f"data.crop is {data.crop}; it must be a multiple of 16 and at least 64")
    if train.precision not in ("bf16", "32"):
        raise ConfigError(f"train.precision is {train.precision!r}; it must be bf16 or 32")
    for name, least in (("steps", 1), ("warmup", 0), ("decay", 1), ("validate_every", 1), ("validation_pairs", 1)):
        if getattr(train, name) < least:
            raise ConfigError(f"train.{name} is {getattr(train, name)}; it must be at least {least}")
    if data.batch < 1 or train.seed < 0:
        raise ConfigError(f"data.batch is {data.batch} and train.seed {train.seed}; at least 1 and 0 are needed")
    for name, low, high in (
        ("lr", 0, 1),
        ("backbone_lr", 0, 1),
        ("weight_decay", 0, 1),
        ("clip", 0, math.inf),
        ("average", 0, 1),
    ):
        if not low <= getattr(train, name) <= high:
            raise ConfigError(f"train.{name} is {getattr(train, name)}; it must be from {low} to {high}")
    if not 0 <= train.loss.jitter <= 1 or train.loss.refined_per_pair < 1:
        raise ConfigError("train.loss.jitter must be from 0 to 1, and train.loss.refined_per_pair at least 1")
    return config
