"""docs/versions.md and README.md's line are those of results.json."""

import copy

import pytest

from tests.versions import matrix, version_table


def test_the_texts_are_what_the_results_give():
    assert version_table.out_of_date() == []


def test_the_line_counts_failures_and_the_table_says_why_there_are_no_ops():
    results = version_table.read()
    assert "none failed" in version_table.sentence({"row": {**next(iter(results.values())), "failed": 0}})
    row = copy.deepcopy(next(iter(results.values())))
    row["failed"], row["why_not"] = 3, {"cpu": "the compiler was ill"}
    assert ", 3 failed" in version_table.sentence({"row": row})
    assert version_table.table({"row": row}).endswith("\nC++ ops, no: the compiler was ill.\n")


@pytest.mark.parametrize("version", ["2.11", "2.11.0+cu128", "newest", ""])
def test_a_torch_is_a_whole_version(monkeypatch, version, capsys):
    """It is what the environment must have in the end, and a row's name."""
    monkeypatch.setattr(matrix, "run_row", lambda *_: pytest.fail("the row was run"))
    with pytest.raises(SystemExit):
        matrix.main(["--torch", version])
    assert f"expected a whole version, such as {matrix.PINNED}, got '{version}'" in capsys.readouterr().err
