"""docs/versions.md and README.md's line are those of results.json."""

import copy

import version_table


def test_the_texts_are_what_the_results_give():
    assert version_table.out_of_date() == []


def test_the_line_counts_failures_and_the_table_says_why_there_are_no_ops():
    results = version_table.read()
    assert "none failed" in version_table.sentence({"row": {**next(iter(results.values())), "failed": 0}})
    row = copy.deepcopy(next(iter(results.values())))
    row["failed"], row["why_not"] = 3, {"cpu": "the compiler was ill"}
    assert ", 3 failed" in version_table.sentence({"row": row})
    assert version_table.table({"row": row}).endswith("\nC++ ops, no: the compiler was ill.\n")
