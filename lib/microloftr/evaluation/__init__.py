"""How good is a matcher? `evaluate(matcher, dataset, n_samples, seed)` asks its network, before and after refinement.

The name is read from its module when first used: the rooms of this package stay light to import. The command
`python -m microloftr evaluate`, which judges whole matchers on the fixed pairs, is `predict_and_score`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from microloftr.evaluation.stages import evaluate as evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"microloftr.evaluation has no {name!r}; it offers {', '.join(__all__)} and its modules")
    value = globals()[name] = getattr(import_module("microloftr.evaluation.stages"), name)
    return value
