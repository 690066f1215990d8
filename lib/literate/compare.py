"""Do a fresh run and the committed notebook say the same? Words exactly, numbers as far as they were printed."""

import re
from itertools import zip_longest

from nbformat import NotebookNode

from literate.outputs import output_text
from literate.pairs import tags

NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
RELATIVE = 0.02  # another processor rounds otherwise, and a match on the border of the threshold comes or goes


def differences(committed: NotebookNode, fresh: NotebookNode) -> list[str]:
    """One line for each code cell whose text outputs differ; pictures and cells tagged `timing` are not compared."""
    found = []
    pairs = zip_longest(_code_cells(committed), _code_cells(fresh))
    for number, (old, new) in enumerate(pairs, start=1):
        if old is None or new is None or old.source != new.source:
            return [*found, f"cell [{number}] is not the same cell in both"]
        if "timing" in tags(old):
            continue
        before, after = (("".join(output_text(output) for output in cell.outputs)).splitlines() for cell in (old, new))
        for line_before, line_after in zip_longest(before, after, fillvalue=""):
            if not same_text(line_before, line_after):
                found.append(f"cell [{number}] printed '{line_before}', now '{line_after}'")
                break
    return found


def same_text(before: str, after: str) -> bool:
    """Whether two texts have the same words and numbers that agree to their last printed digit or to two per cent."""
    if NUMBER.sub("#", before).split() != NUMBER.sub("#", after).split():
        return False
    return all(_close(a, b) for a, b in zip(NUMBER.findall(before), NUMBER.findall(after), strict=True))


def _close(before: str, after: str) -> bool:
    digits = re.split(r"[eE]", before)[0].partition(".")[2]
    a, b = float(before), float(after)
    unit = 10.0 ** -len(digits) if "e" not in before.lower() else 0.0
    return abs(a - b) <= max(1.001 * unit, RELATIVE * abs(a))


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and "injected-parameters" not in tags(cell)]
