"""The presets of the line: what each is made of. Plain numbers, checked once, saved beside the weights."""

from dataclasses import asdict, dataclass, fields

from microloftr.errors import ConfigError

COARSE_STRIDE = 8
FINE_STRIDE = 2


@dataclass(frozen=True)
class ModelConfig:
    """One model of the line. `one_conv` leaves out the transformer (layers 0) and the refinement (window 0)."""

    preset: str = "micro"
    backbone: str = "micro"  # micro: convolutional pyramid; one_conv: a single convolution
    dim: int = 128  # C, channels of a coarse cell
    heads: int = 4
    layers: int = 3  # each one self- and one cross-attention
    attention: str = "full"  # full or linear
    fine_dim: int = 32
    window: int = 9  # W, side of the refinement window in cells of 1/2; odd

    def __post_init__(self) -> None:
        if self.backbone not in ("micro", "one_conv"):
            raise ConfigError(f"model.backbone is {self.backbone!r}; it must be micro or one_conv")
        if self.attention not in ("full", "linear"):
            raise ConfigError(f"model.attention is {self.attention!r}; it must be full or linear")
        if self.heads < 1 or self.dim % self.heads or (self.dim // self.heads) % 4:
            raise ConfigError(
                f"model.dim {self.dim} does not split into model.heads {self.heads} of a multiple of 4 channels each; "
                f"choose dim = 4·heads·n, as 128 with 4 heads"
            )
        if self.window != 0 and (self.window < 3 or self.window % 2 == 0):
            raise ConfigError(f"model.window is {self.window}; it must be odd and at least 3, or 0 for no refinement")
        if self.layers < 0 or self.fine_dim < 4:
            raise ConfigError("model.layers must be 0 or more and model.fine_dim at least 4")


PRESETS = {
    "micro": ModelConfig(),
    "one_conv": ModelConfig(preset="one_conv", backbone="one_conv", dim=64, heads=4, layers=0, window=0),
}


def model_config(values: dict) -> ModelConfig:
    """A config from a plain dictionary, as weights carry it; unknown or missing keys are named."""
    known = {field.name for field in fields(ModelConfig)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"the model configuration has the unknown key {unknown[0]!r}; it knows {', '.join(sorted(known))}"
        )
    return ModelConfig(**values)


def as_dict(config: ModelConfig) -> dict:
    """The config as a plain dictionary."""
    return asdict(config)
