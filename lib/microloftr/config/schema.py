"""The typed schema, checked by Hydra and OmegaConf: a misspelt key or a wrong type is an error that names it."""

import shlex
from collections.abc import Iterator, Sequence

from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microloftr.config.keys import GROUPS, check_choice, check_key, wanted
from microloftr.config.plain import Config, DataConfig, EvalConfig, TrainConfig, checked
from microloftr.errors import ConfigError
from microloftr.model.presets import ModelConfig

KINDS = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig, "eval": EvalConfig}


def load_config(overrides: Sequence[str] | str = ()) -> Config:
    """The configuration with overrides such as ["train.steps=4000", "model=one_conv"], or the same as one text.

    A folder of one's own together with weights to start from is fine-tuning: the preset train=finetune is then taken
    unless another is named.

    Raises ConfigError for a key that does not exist (also with + and ++, which Hydra itself would let through), a value
    of the wrong type, and values that do not go together.
    """
    parsed = _parsed(overrides)
    for override in parsed:
        if override.is_sweep_override():
            raise ConfigError(
                f"{override.input_line!r} has several values; python -m microloftr sweep tries each, and a list is "
                f"written as {override.get_key_element()}=[…]"
            )
    lines = [override.input_line for override in parsed]
    config = checked(_composed([*_preset(lines), *lines], parsed))
    if config.train.warmup > config.train.steps:  # a run of before, read from its folder, may have done so
        raise ConfigError(
            f"train.warmup is {config.train.warmup} and train.steps {config.train.steps}: it would end before it has "
            f"reached its rate; give train.warmup={config.train.steps // 10} or so"
        )
    return config


def several(overrides: Sequence[str] | str) -> list[list[str]]:
    """Every combination of overrides with commas, as train.lr=1e-4,1e-3 train.seed=0,1, in order: Hydra's own sweeper.

    Raises ConfigError as `load_config` does.
    """
    try:
        return BasicSweeper.split_arguments(_parsed(overrides), None)[0]
    except HydraException as error:
        raise ConfigError(f"these values cannot be tried in turn: {_one_line(error)}") from error


def _parsed(overrides: Sequence[str] | str) -> list[Override]:
    """Overrides by Hydra's grammar, each of a key or group that exists and with a value."""
    given = shlex.split(overrides) if isinstance(overrides, str) else list(overrides)
    for text in given:  # `~key`, which drops a key, is written without =
        if "=" not in text and not text.lstrip().startswith("~"):
            raise ConfigError(f"{text!r} gives no value; write KEY=VALUE, as train.steps=100")
    try:
        parsed = OverridesParser.create().parse_overrides(given)
    except HydraException as error:
        raise ConfigError(f"an override cannot be read: {_one_line(error)}") from error
    for override in parsed:
        check_key(override.key_or_group, override.input_line)
        if override.is_add() or override.is_force_add() or override.is_delete():
            raise ConfigError(
                f"{override.input_line!r} would add or remove a key; {override.key_or_group} exists: write "
                f"{override.key_or_group}=VALUE"
            )
        if override.package is not None:
            raise ConfigError(f"{override.input_line!r} is Hydra's own business; write KEY=VALUE")
        if override.key_or_group in GROUPS and not override.is_sweep_override():
            check_choice(override.key_or_group, override.value())
    return parsed


def _composed(lines: list[str], parsed: list[Override]) -> Config:
    _register()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("microloftr.config", version_base="1.3"):
            return OmegaConf.to_object(compose("config", overrides=lines))
    except (HydraException, OmegaConfBaseException) as error:
        key = next((e.full_key for e in _chain(error) if getattr(e, "full_key", None)), None)
        value = next((o.get_value_element_as_str() for o in reversed(parsed) if o.key_or_group == key), None)
        if key is None or value is None:
            raise ConfigError(f"the configuration does not allow this: {_one_line(*_chain(error))}") from error
        raise ConfigError(f"{key} is {value!r}; it must be {wanted(key)}") from error


def _register() -> None:
    store = ConfigStore.instance()
    store.store(name="schema", node=_writable(Config))
    for group, kind in KINDS.items():
        store.store(group=group, name="schema", node=_writable(kind))


def _writable(node: object) -> DictConfig:
    """A structured node that overrides may change, though its dataclass is frozen."""
    config = OmegaConf.structured(node)
    for part in (config, *(value for value in config.values() if isinstance(value, DictConfig))):
        OmegaConf.set_readonly(part, None)
        for value in part.values():
            if isinstance(value, DictConfig):
                OmegaConf.set_readonly(value, None)
    return config


def _preset(overrides: Sequence[str]) -> list[str]:
    """train=finetune where somebody's own micrographs are to teach given weights and no other preset is chosen."""
    given = dict(override.split("=", 1) for override in overrides)
    own = given.get("data.folder", "bundled") != "bundled"
    taught = given.get("train.init", "none") not in ("none", "xfeat")
    return ["train=finetune"] if own and taught and "train" not in given else []


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _one_line(*errors: BaseException) -> str:
    return " ".join(" ".join(map(str, errors)).split())
