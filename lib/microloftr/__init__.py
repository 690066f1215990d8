"""Match two micrographs of the same specimen without detecting keypoints, after LoFTR (Sun et al., CVPR 2021).

The names below are read from their modules when first used, so that `import microloftr` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microloftr.images import read_image as read_image
    from microloftr.matches import Matches as Matches
    from microloftr.matching import Matcher as Matcher
    from microloftr.registration.overlay import overlay as overlay
    from microloftr.registration.transform import Transform as Transform

_HOME = {
    "Matcher": "microloftr.matching",
    "Matches": "microloftr.matches",
    "Transform": "microloftr.registration.transform",
    "overlay": "microloftr.registration.overlay",
    "read_image": "microloftr.images",
}
__all__ = ["Matcher", "Matches", "Transform", "overlay", "read_image"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"microloftr has no {name!r}; it offers {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
