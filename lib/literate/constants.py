"""Is the answer of a notebook measured, or typed in? The calls `answer(…)` in its code, read without running them."""

import ast
from collections.abc import Iterator

PURE = {"abs", "bool", "dict", "float", "int", "len", "list", "max", "min", "round", "str", "sum", "tuple"}
WRAPPERS = {"array", "asarray", "float32", "float64", "int64", "tensor"}
Known = dict[str, list[ast.expr | None]]  # what each name is given; None for what is not typed in


def answers(source: str) -> dict[str, list[ast.Call]]:
    """The calls `answer("Qnn", …)` in Python source, by id."""
    found: dict[str, list[ast.Call]] = {}
    for node in ast.walk(ast.parse(source)):
        name = getattr(getattr(node, "func", None), "id", None) or getattr(getattr(node, "func", None), "attr", None)
        if isinstance(node, ast.Call) and name == "answer" and node.args and isinstance(node.args[0], ast.Constant):
            found.setdefault(str(node.args[0].value), []).append(node)
    return found


def constants(call: ast.Call, source: str) -> list[str]:
    """The parts of an answer that nothing measured: `value`, `interval`, and numbers in `more` that are typed in.

    A name that is only ever given typed values is typed too, and so is arithmetic on such names. `n` may be typed.
    """
    known = _assignments(ast.parse(source))
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    found = []
    for name in ("value", "interval"):
        if name in given and not _is_none(given[name]) and _typed(given[name], known):
            found.append(name)
    if "value" not in given:
        found.append("value")
    if "more" in given:
        found += [f"more[{key}]" for key, node in _entries(given["more"], known) if _typed_number(node, known)]
    return found


def _assignments(tree: ast.Module) -> Known:
    """What each name is given anywhere; None for what is no plain `name = expression` or is changed later."""
    found: Known = {}
    plain: set[int] = set()
    for node in ast.walk(tree):
        for target, value in _targets(node):
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
                plain.add(id(target))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in plain:
            found.setdefault(node.id, []).append(None)
        changed = isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.value, ast.Name)
        if changed and (isinstance(node, ast.Attribute) or isinstance(node.ctx, ast.Store)):  # a.append(…), a[0] = …
            found.setdefault(node.value.id, []).append(None)
    return found


def _targets(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """The targets of an assignment with what each is given; `a, b = 1, 2` gives two."""
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return [(node.target, node.value)]
    pairs = [(target, node.value) for target in node.targets] if isinstance(node, ast.Assign) else []
    for target, value in pairs:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            return list(zip(target.elts, value.elts, strict=True))
    return pairs


def _typed(node: ast.AST | None, known: Known, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an expression is made of literals alone, directly or through names."""
    if node is None or isinstance(node, ast.Attribute | ast.Await | ast.Lambda | ast.NamedExpr):
        return False
    if isinstance(node, ast.Name):
        values = known.get(node.id, [None])
        return node.id not in seen and all(_typed(value, known, seen | {node.id}) for value in values)
    if isinstance(node, ast.Call):
        func = node.func
        if isinstance(func, ast.Attribute):  # np.array([1, 2]), torch.tensor(0.5).item()
            pure = func.attr in WRAPPERS or (func.attr in {"item", "tolist"} and _typed(func.value, known, seen))
        else:
            pure = isinstance(func, ast.Name) and func.id in PURE and func.id not in known
        return pure and all(_typed(part, known, seen) for part in [*node.args, *(k.value for k in node.keywords)])
    return all(_typed(child, known, seen) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))


def _typed_number(node: ast.expr, known: Known) -> bool:
    """Whether an expression is typed in and holds a number."""
    if not _typed(node, known):
        return False
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in known}
    values = [node, *(value for name in names for value in known[name] if value is not None)]
    parts = [part for value in values for part in ast.walk(value) if isinstance(part, ast.Constant)]
    return any(isinstance(part.value, int | float) and not isinstance(part.value, bool) for part in parts)


def _entries(node: ast.expr, known: Known) -> Iterator[tuple[str, ast.expr]]:
    """Name and expression of each value in `more`, written as a dict, as dict(…), by a name, or joined by | or **."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield from _entries(value, known) if key is None else [(ast.unparse(key), value)]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        for keyword in node.keywords:
            yield from _entries(keyword.value, known) if keyword.arg is None else [(repr(keyword.arg), keyword.value)]
    elif isinstance(node, ast.BinOp):
        yield from [*_entries(node.left, known), *_entries(node.right, known)]
    elif isinstance(node, ast.Name):
        for value in known.get(node.id, []):
            if isinstance(value, ast.Dict | ast.Call | ast.BinOp):
                yield from _entries(value, known)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
