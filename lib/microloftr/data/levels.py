"""The levels of difficulty: what a pair may differ in. The fixed pairs are of one level, training mixes several."""

from dataclasses import dataclass, replace

from microloftr.data.warps import WarpRange


@dataclass(frozen=True)
class AppearanceRange:
    """What the second crop's appearance is drawn from; grey values in 0..1, blur in pixels."""

    gamma: tuple[float, float] = (1.0, 1.0)
    blur: tuple[float, float] = (0.0, 0.0)
    light: float = 0.0  # uneven light, up to ± this share
    noise: float = 0.0  # standard deviation of the sensor noise
    photons: tuple[float, float] | None = None  # at white
    other_projection: bool = False  # another projection of colour
    other_tones: float = 0.0  # share of pairs with an inverted or non-monotone tone curve
    bent_tones: float = 0.0  # how far the tone curve of the others is bent, 0 to 1
    elastic: float = 0.0  # standard deviation of a smooth local displacement, pixels


@dataclass(frozen=True)
class Level:
    """One level: geometry and appearance, and the zoom of crop 0 (crop pixels per micrograph pixel)."""

    name: str
    warp: WarpRange
    appearance: AppearanceRange
    zoom: tuple[float, float] = (0.6, 0.95)


EASY = Level("easy", WarpRange(10, (0.95, 1.05), (0.45, 0.95)), AppearanceRange(gamma=(0.8, 1.25), noise=0.01))
MEDIUM = Level(
    "medium",
    WarpRange(35, (0.8, 1.25), (0.4, 0.9)),
    AppearanceRange(gamma=(0.7, 1.4), blur=(0.0, 1.0), light=0.2, noise=0.03),
)
HARD = Level(
    "hard",
    WarpRange(180, (0.67, 1.5), (0.4, 0.9)),
    AppearanceRange(gamma=(0.6, 1.6), blur=(0.0, 1.3), light=0.4, noise=0.04, other_projection=True),
)
EXTREME = Level(
    "extreme",
    WarpRange(180, (0.8, 1.25), (0.15, 0.5), rotation_half=20),
    AppearanceRange(blur=(0.8, 2.5), light=0.4, photons=(15, 80), other_projection=True, other_tones=1.0),
)
LEVELS = {level.name: level for level in (EASY, MEDIUM, HARD, EXTREME)}

# Training: the Matcher turns image_1 by quarters before it matches (matching.py), so the network itself has to bear
# ±45° and a little more, never ±180°.
_TRAIN_APPEARANCE = replace(HARD.appearance, bent_tones=0.3, elastic=0.3)
TRAINING = (
    (
        0.25,
        Level("near", WarpRange(12, (0.9, 1.1), (0.4, 1.0)), replace(MEDIUM.appearance, bent_tones=0.15), (0.5, 1.1)),
    ),
    (
        0.35,
        Level("middle", WarpRange(50, (0.8, 1.25), (0.35, 0.95)), replace(_TRAIN_APPEARANCE, light=0.25), (0.5, 1.1)),
    ),
    (0.20, Level("far", WarpRange(50, (0.62, 1.6), (0.3, 0.95)), _TRAIN_APPEARANCE, (0.5, 1.1))),
    (
        0.20,
        Level(
            "other",
            WarpRange(50, (0.8, 1.25), (0.2, 0.8), rotation_half=20),
            replace(EXTREME.appearance, blur=(0.0, 2.2), other_tones=0.7, bent_tones=0.6, elastic=0.3),
            (0.5, 1.1),
        ),
    ),
)
MIXTURES = {"train": TRAINING, **{name: ((1.0, level),) for name, level in LEVELS.items()}}
