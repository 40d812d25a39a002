"""The check of file names in texts finds those of files that are gone, and no others."""

import pytest

from tests.support.file_names import missing

PYTHON = '''"""Reads {0}."""


def read():
    # As {0} says.
    return "nowhere.py"
'''
TEXTS = {
    "package/reader.py": PYTHON,
    "csrc/reader.cuh": "#include <other/nowhere.h>\n// As {0} says.\n",
    "page.md": "See `{0}`.\n[A page]({0}), https://example.org/nowhere.md, `*.py`\n",
    "pyproject.toml": 'name = "nowhere.py"\n# {0}\n',
    "Makefile": "# {0}\n",
}
THERE = ("package/reader.py", "reader.py", "csrc/reader.cuh", "page.md")
GONE = ("package/gone.py", "gone.cuh", "csrc/reader.py", "tests/gone")


def check(folder, name):
    for path, text in TEXTS.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text.replace("{0}", name))
    return missing(list(TEXTS), folder)


@pytest.mark.parametrize("name", THERE)
def test_names_of_files_are_accepted(tmp_path, name):
    assert check(tmp_path, name) == []


@pytest.mark.parametrize("name", GONE)
def test_names_of_no_file_are_found_with_their_lines(tmp_path, name):
    lines = ["package/reader.py:1", "package/reader.py:5", "csrc/reader.cuh:2", "page.md:1", "page.md:2"]
    found = check(tmp_path, name)
    assert sorted(found) == sorted(f"{line}: {name}" for line in [*lines, "pyproject.toml:2", "Makefile:1"])


def test_a_folder_in_backticks_is_one(tmp_path):
    (tmp_path / "page.md").write_text("`package/` and `gone/`\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "reader.py").touch()
    assert missing(["page.md", "package/reader.py"], tmp_path) == ["page.md:1: gone/"]
