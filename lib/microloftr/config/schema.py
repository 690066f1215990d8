"""The typed schema, checked by Hydra and OmegaConf: a misspelt key or a wrong type is an error that names it."""

from collections.abc import Sequence

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from microloftr.config.plain import Config, DataConfig, TrainConfig, checked
from microloftr.errors import ConfigError
from microloftr.model.presets import PRESETS


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

    A folder of one's own together with weights to start from is fine-tuning: the preset train=finetune is then taken
    unless another is named.

    Raises ConfigError for a key that does not exist (also with + and ++, which Hydra itself would let through), a value
    of the wrong type, and values that do not go together.
    """
    for override in overrides:
        if override.lstrip().startswith(("+", "~")):
            raise ConfigError(f"{override!r} would add or remove a key; write KEY=VALUE with a key that exists")
        if override.startswith("hydra.") or override.endswith("=schema"):
            raise ConfigError(f"{override!r} is Hydra's own business; the groups are model, data and train")
    overrides = [*_preset(overrides), *overrides]
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
    return checked(config)


def _preset(overrides: Sequence[str]) -> list[str]:
    """train=finetune where somebody's own micrographs are to teach given weights and no other preset is chosen."""
    given = dict(override.split("=", 1) for override in overrides if "=" in override)
    own = given.get("data.folder", "bundled") != "bundled"
    taught = given.get("train.init", "none") not in ("none", "xfeat")
    return ["train=finetune"] if own and taught and "train" not in given else []
