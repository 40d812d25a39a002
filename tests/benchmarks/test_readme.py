"""python -m benchmarks.readme: README.md's tables and pictures are those of the result files that it names."""

import json
import shutil

import pytest

pytest.importorskip("matplotlib")
from benchmarks import readme
from tests.support.benchmarks.loss_results import loss_result


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a README.md, with text around the markers, and a result file."""
    (tmp_path / readme.RESULTS).mkdir(parents=True)
    (tmp_path / readme.RESULTS / "loss-a.json").write_text(json.dumps(loss_result()))
    text = "before\n<!-- benchmark table: begin loss-a.json -->\nold\n<!-- benchmark table: end -->\nafter\n"
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(readme, "README", tmp_path / "README.md")
    return tmp_path


def test_the_committed_readme_is_what_the_files_give(capsys):
    assert readme.main(["--check"]) == 0, capsys.readouterr().out


def test_it_writes_tables_and_pictures_between_the_markers(project, capsys):
    assert readme.main(["--check"]) == 1
    assert readme.main([]) == 0
    assert "loss-a.json" in capsys.readouterr().out
    text = (project / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| 256, 8192 | **10** (20) | 300 (1,100) | 11 (–) |".replace(" (–)", "") in text
    assert "| 256, 32768 | **40** (80) | does not fit | 44 |" in text
    assert "**Forward + backward**" in text and "**Forward alone**" in text
    for what in readme.CAPTIONS:
        assert f"(docs/pictures/loss-a-{what}.png)" in text
        assert (project / f"docs/pictures/loss-a-{what}.png").stat().st_size > 10_000
    assert readme.main(["--check"]) == 0
    assert readme.main([]) == 0 and (project / "README.md").read_text() == text


def test_a_new_result_or_an_old_picture_is_noticed(project, capsys):
    assert readme.main([]) == 0
    path = project / readme.RESULTS / "loss-a.json"
    path.write_text(json.dumps(loss_result(factor=2)))
    capsys.readouterr()
    assert readme.main(["--check"]) == 1
    said = capsys.readouterr().out
    assert "loss-a-time.png was not drawn from loss-a.json" in said and "README.md's tables" in said
    assert readme.main([]) == 0 and readme.main(["--check"]) == 0
    (project / "docs/pictures/loss-a-floor.png").unlink()
    assert readme.main(["--check"]) == 1
    shutil.copy(project / "docs/pictures/loss-a-time.png", project / "docs/pictures/loss-a-floor.png")
    (project / "README.md").write_text(
        (project / "README.md").read_text().replace("| 256, 8192 |", "| 256, 8193 |")
    )
    assert readme.main(["--check"]) == 1


@pytest.mark.parametrize(
    "text", ["no markers", "<!-- benchmark table: begin none.json -->\n<!-- benchmark table: end -->"]
)
def test_without_markers_or_a_file_it_says_so(project, text, capsys):
    (project / "README.md").write_text(text)
    assert readme.main(["--check"]) == readme.main([]) == 2
    assert "benchmarks.readme: " in capsys.readouterr().err
    assert (project / "README.md").read_text() == text
