"""The notebooks of the project: in order as committed, and a fresh run of the first one prints what is committed."""

from literate.check import check_all, check_pair, check_run
from literate.pairs import all_pairs, read_notebook, select_pairs
from literate.project import find_project


def test_every_pair_is_in_order():
    project = find_project()
    pairs = all_pairs(project)
    assert pairs
    assert [line for pair in pairs for line in check_pair(pair, project)] + check_all(project) == []


def test_a_fresh_run_prints_what_is_committed():
    project = find_project()
    (pair,) = select_pairs(project, ["00"])
    assert check_run(pair, project) == []
    code = [cell for cell in read_notebook(pair.notebook).cells if cell.cell_type == "code"]
    assert any(output.output_type == "stream" for cell in code for output in cell.outputs), "nothing was compared"
