"""The presets of the line: what each is made of. Plain numbers, checked once, saved beside the weights."""

from dataclasses import asdict, dataclass, fields, replace

from microloftr.errors import ConfigError

COARSE_STRIDE = 8
FINE_STRIDE = 2


CHOICES = {
    "backbone": ("micro", "one_conv", "resnet_fpn"),
    "contrast": ("both", "whole", "local"),
    "upsampling": ("exact", "align_corners"),
    "transformer": ("rotary", "sine"),
    "attention": ("full", "linear"),
    "matching": ("matchability", "dual_softmax"),
    "refinement": ("pick", "expectation"),
}


@dataclass(frozen=True)
class ModelConfig:
    """One model of the line. `one_conv` leaves out the transformer (layers 0) and the refinement (window 0)."""

    preset: str = "micro"
    backbone: str = "micro"  # micro: convolutional pyramid; one_conv: a single convolution; resnet_fpn: published
    upsampling: str = "exact"  # of the pyramid on its way to 1/2; align_corners: published, drifts
    dim: int = 128  # C, channels of a coarse cell
    heads: int = 4
    layers: int = 3  # N_c, each one self- and one cross-attention
    transformer: str = "rotary"  # rotary: relative places, symmetric; sine: published
    released_position: bool = False  # sines with the slip that the released weights were trained with
    attention: str = "full"
    matching: str = "matchability"  # dual_softmax: published
    refinement: str = "pick"  # pick, then 3×3; expectation over the whole window: published
    fine_dim: int = 32  # F
    fine_heads: int = 8  # of expectation's transformer
    window: int = 9  # W, side of the refinement window in cells of 1/2; odd; 0: no refinement
    threshold: float = 0.1  # confidence from which a match counts, where a Matcher is not told otherwise
    pixel_centre: float = 0.0  # where the weights put the centre of the top-left pixel, x and y; ours 0
    contrast: str = "both"  # of micro: normalised over the whole image and locally, or one of them twice

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"model.{name} is {getattr(self, name)!r}; it must be {' or '.join(known)}")
        if self.heads < 1 or self.dim % self.heads or (self.transformer == "rotary" and self.dim // self.heads % 4):
            raise ConfigError(
                f"model.dim {self.dim} does not split into model.heads {self.heads} of a multiple of 4 channels each; "
                f"choose dim = 4·heads·n, as 128 with 4 heads"
            )
        if self.dim % 4:
            raise ConfigError(f"model.dim is {self.dim}; positions need a multiple of 4 channels")
        if self.backbone != "micro" and self.contrast != "both":
            raise ConfigError(f"model.contrast is {self.contrast!r}; only the backbone micro can do without the other")
        if self.backbone == "one_conv" and self.window:
            raise ConfigError(f"model.window is {self.window}; one_conv has no fine map to refine on, so it must be 0")
        if self.window != 0 and (self.window < 3 or self.window % 2 == 0):
            raise ConfigError(f"model.window is {self.window}; it must be odd and at least 3, or 0 for no refinement")
        if self.layers < 0 or self.fine_dim < 4:
            raise ConfigError("model.layers must be 0 or more and model.fine_dim at least 4")
        if self.refinement == "expectation" and (self.fine_heads < 1 or self.fine_dim % self.fine_heads):
            raise ConfigError(
                f"model.fine_dim {self.fine_dim} does not split into model.fine_heads {self.fine_heads}; "
                f"choose a multiple, as 128 with 8 or 92 with 4"
            )
        if self.backbone == "resnet_fpn" and self.window and self.fine_dim != 128:
            raise ConfigError(f"model.fine_dim is {self.fine_dim}; the fine map of resnet_fpn has 128 channels")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"model.threshold is {self.threshold}; it must be at least 0 and below 1")


PRESETS = {
    "micro": ModelConfig(),
    "one_conv": ModelConfig(preset="one_conv", backbone="one_conv", dim=64, heads=4, layers=0, window=0, threshold=0.0),
    "loftr": ModelConfig(
        preset="loftr",
        backbone="resnet_fpn",
        upsampling="align_corners",
        dim=256,
        heads=8,
        layers=4,
        transformer="sine",
        attention="linear",
        matching="dual_softmax",
        refinement="expectation",
        fine_dim=128,
        window=5,
        threshold=0.2,
    ),
}


def model_config(values: dict) -> ModelConfig:
    """A config from a plain dictionary, as weights carry it; unknown or missing keys are named.

    A threshold that was left at the default is what the preset now says: it is chosen after training, on validation.
    """
    known = {field.name for field in fields(ModelConfig)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(
            f"the model configuration has the unknown key {unknown[0]!r}; it knows {', '.join(sorted(known))}"
        )
    config = ModelConfig(**values)
    if config.preset in PRESETS and config.threshold == ModelConfig.threshold:  # nobody chose another
        return replace(config, threshold=PRESETS[config.preset].threshold)
    return config


def as_dict(config: ModelConfig) -> dict:
    """The config as a plain dictionary."""
    return asdict(config)
