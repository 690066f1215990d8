"""One typed configuration: `load_config(overrides)` serves the command line, papermill and notebooks.

`load_config` is read when first used: the training core takes the plain dataclasses alone, without Hydra.
"""

from typing import TYPE_CHECKING, Any

from microloftr.config.plain import Config, DataConfig, EvalConfig, TrainConfig

if TYPE_CHECKING:
    from microloftr.config.schema import load_config as load_config

__all__ = ["Config", "DataConfig", "EvalConfig", "TrainConfig", "load_config"]


def __getattr__(name: str) -> Any:
    if name != "load_config":
        raise AttributeError(f"microloftr.config has no {name!r}; it offers {', '.join(__all__)}")
    from microloftr.config.schema import load_config

    return load_config
