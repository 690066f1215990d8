"""The notebooks of the project: in order as committed, and a fresh run of each prints what is committed."""

import pytest

from literate.check import check_all, check_pair, check_run
from literate.pairs import all_pairs, read_notebook
from literate.project import find_project

PAIRS = all_pairs(find_project())


def test_every_pair_is_in_order():
    project = find_project()
    assert PAIRS
    assert [line for pair in PAIRS for line in check_pair(pair, project)] + check_all(project) == []


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_a_fresh_run_prints_what_is_committed(pair):
    assert check_run(pair, find_project()) == []
    code = [cell for cell in read_notebook(pair.notebook).cells if cell.cell_type == "code"]
    assert any(output.output_type == "stream" for cell in code for output in cell.outputs), "nothing was compared"
