"""One typed configuration: `load_config(overrides)` serves the command line, papermill and notebooks."""

from microloftr.config.schema import Config, DataConfig, TrainConfig, load_config

__all__ = ["Config", "DataConfig", "TrainConfig", "load_config"]
