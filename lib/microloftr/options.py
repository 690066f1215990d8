"""How a Matcher works: its options, checked."""

from dataclasses import dataclass, replace

from microloftr.errors import ParameterError


@dataclass(frozen=True)
class MatcherOptions:
    """How a Matcher works. Sides in pixels; `border` in coarse cells of 8 pixels."""

    threshold: float | None = None  # least confidence of the network's matches; None: what its configuration says
    border: int = 0
    search: bool = True  # try quarter turns on thumbnails; else the network looks once, at both images as they are
    align: bool = True  # with search: follow the pixels from the transform found
    direct: bool = True  # with both: align all pixels of the overlap at once, and draw the points to that
    quick_side: int = 160  # long side of the first thumbnails
    search_side: int = 320  # and of the second ones, and of the images on which hypotheses are tried
    narrow_side: int = 512  # and of the last ones, looked at without turns: a narrow overlap is no cell wide on less
    network_side: int = 640  # larger images are shrunk to this for the network's second look
    direct_side: int = 512  # and to this for aligning all pixels at once
    long_side: int = 1600  # and to this for following the pixels; points come back in pixels as read

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise ParameterError(f"threshold is {self.threshold}; it must be at least 0 and below 1")
        sides = [getattr(self, name) for name in self.__dataclass_fields__ if name.endswith("_side")]
        if self.border < 0 or min(sides) < 64:
            raise ParameterError("border must be 0 or more, and every side of a Matcher at least 64 pixels")


def options_from(values: dict) -> MatcherOptions:
    """Options by name. Raises ParameterError for a name that there is not."""
    try:
        return replace(MatcherOptions(), **values)
    except TypeError:
        known = MatcherOptions.__dataclass_fields__
        unknown = sorted(set(values) - set(known))
        raise ParameterError(f"a Matcher has no option {unknown[0]!r}; it has {', '.join(known)}") from None
