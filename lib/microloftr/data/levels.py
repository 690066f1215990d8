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
class ChangeRange:
    """How many of a kind of training pairs show each further change (changes.py), as shares in 0..1."""

    focus: float = 0.0  # one crop out of focus: a disk instead of the Gaussian
    dim: float = 0.0  # few photons, whatever the tones
    tones: float = 0.0  # a tone curve without any order
    structures: float = 0.0  # another channel: outlines, or other planes and tones from place to place
    charging: float = 0.0
    shading: float = 0.0
    dust: float = 0.0
    clipping: float = 0.0
    section: float = 0.0  # the next section: deformed by some pixels
    replaced: float = 0.0  # other content in places
    anywhere: float = 0.0  # placed anywhere, also where little is to be seen


@dataclass(frozen=True)
class Level:
    """One level: geometry and appearance, and the zoom of crop 0 (crop pixels per micrograph pixel).

    `changes`: None in the fixed pairs, and wherever pairs shall stay what they were.
    """

    name: str
    warp: WarpRange
    appearance: AppearanceRange
    zoom: tuple[float, float] = (0.6, 0.95)
    changes: ChangeRange | None = None


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
# ±45° and a little more, never ±180°. This is the mixture of the first weights.
_TRAIN_APPEARANCE = replace(HARD.appearance, bent_tones=0.3, elastic=0.3)
FIRST = (
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
_ZOOM = (0.5, 1.1)
_FEW = ChangeRange(focus=0.1, dim=0.12, structures=0.05, charging=0.06, shading=0.2, dust=0.06, clipping=0.08)
_SOME = replace(_FEW, focus=0.15, dim=0.2, structures=0.08, shading=0.3, replaced=0.06, anywhere=0.2)
_MANY = ChangeRange(
    focus=0.3, tones=0.2, structures=0.2, charging=0.08, shading=0.3, dust=0.08, clipping=0.1, anywhere=0.15
)
_OTHER = replace(EXTREME.appearance, blur=(0.0, 2.5), other_tones=0.85, bent_tones=0.6, elastic=0.3)
TRAINING = (
    (0.18, replace(FIRST[0][1], warp=WarpRange(12, (0.9, 1.1), (0.3, 1.0)), changes=replace(_FEW, anywhere=0.1))),
    (0.17, replace(FIRST[1][1], warp=WarpRange(50, (0.8, 1.25), (0.25, 0.95)), changes=_SOME)),
    (0.13, replace(FIRST[2][1], warp=WarpRange(50, (0.6, 1.65), (0.2, 0.95)), changes=_SOME)),
    (0.37, Level("other", WarpRange(50, (0.7, 1.4), (0.15, 0.7), rotation_half=20), _OTHER, _ZOOM, _MANY)),
    (
        0.15,
        Level(
            "section",
            WarpRange(50, (0.85, 1.2), (0.3, 0.95), rotation_half=15),
            replace(HARD.appearance, blur=(0.0, 1.5), bent_tones=0.4, other_tones=0.15),
            _ZOOM,
            replace(_SOME, section=1.0, replaced=0.75, dim=0.15),
        ),
    ),
)
Mixture = tuple[tuple[float, Level], ...]


def _each(mixture: Mixture, **changed: object) -> Mixture:
    """A mixture with some of every level's fields replaced; a callable is given the level's own value."""

    def new(level: Level) -> Level:
        return replace(
            level, **{name: to(getattr(level, name)) if callable(to) else to for name, to in changed.items()}
        )

    return tuple((share, new(level)) for share, level in mixture)


_WITHOUT_TONES = {
    "appearance": lambda range_: replace(range_, other_tones=0.0, bent_tones=min(range_.bent_tones, 0.15)),
    "changes": lambda range_: replace(range_, tones=0.0, structures=0.0),
}
_WITHOUT_NEW = ChangeRange(anywhere=0.15)
MIXTURES: dict[str, Mixture] = {
    "train": TRAINING,
    "first": FIRST,
    "train-plain": _each(TRAINING, appearance=replace(MEDIUM.appearance, bent_tones=0.15), changes=_WITHOUT_NEW),
    "train-no-tones": _each(TRAINING, **_WITHOUT_TONES),
    "train-no-sections": _each(TRAINING, changes=lambda range_: replace(range_, section=0.0, replaced=0.0)),
    "train-no-imaging": _each(
        TRAINING,
        changes=lambda range_: replace(range_, focus=0, dim=0, charging=0, shading=0, dust=0, clipping=0),
    ),
    "train-near": _each(TRAINING, warp=lambda range_: replace(range_, rotation=12, rotation_half=12, scale=(0.9, 1.1))),
    "everything": _each(TRAINING, warp=lambda range_: replace(range_, rotation=180, rotation_half=None)),
    **{name: ((1.0, level),) for name, level in LEVELS.items()},
    # To look at one thing alone: easy pairs that are shifted only, or turned and enlarged as well.
    "shifted": ((1.0, replace(EASY, warp=WarpRange(0, (1, 1), (0.45, 0.95), shear=0, perspective=0))),),
    "turned": ((1.0, replace(EASY, warp=WarpRange(35, (0.8, 1.25), (0.45, 0.95)))),),
}
