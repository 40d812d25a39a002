"""The pictures: what is selected for them, what their panels hold, which are left out."""

import itertools
import json

import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")
from benchmarks import plot  # noqa: E402
from benchmarks.loss.plots import curves, draw, floor, selection, speedup  # noqa: E402
from benchmarks.shared.style import spread  # noqa: E402
from tests.support.benchmarks.loss_results import loss_result  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_the_lines_are_the_longest_of_either_axis():
    along_d, along_n = selection.lines(loss_result()["cells"])
    assert (along_d.title, [cell["d"] for cell in along_d.cells]) == ("N = 256", [512, 2048, 8192, 32768])
    assert (along_n.title, [cell["n"] for cell in along_n.cells]) == ("D = 8192", [64, 256, 1024])


def test_curves_end_with_a_mark_where_the_next_size_does_not_fit():
    along_d, along_n = selection.lines(loss_result()["cells"])
    by_label = {curve.label: curve for curve in curves.time_curves(along_d, "forward + backward")}
    assert by_label["official formula"].x == [512, 2048, 8192] and by_label["official formula"].cut
    assert by_label["bt_kernels"].y == pytest.approx([0.625, 2.5, 10, 40]) and not by_label["bt_kernels"].cut
    assert not any(curve.cut for curve in curves.time_curves(along_n, "forward + backward"))
    forward = {curve.label: curve for curve in curves.time_curves(along_d, "forward alone")}
    assert forward["bt_kernels"].y == pytest.approx([0.3125, 1.25, 5, 20])
    memory = {curve.label: curve for curve in curves.memory_curves(along_d, "forward + backward")}
    assert memory["the embeddings"].y[2] == pytest.approx(8 * 256 * 8192 / 1e6) and "GEMM-only floor" not in memory


def test_time_and_memory_have_a_panel_for_each_pass_and_axis():
    titles = [axes.get_title(loc="left") for axes in curves.draw(loss_result(), "time").axes]
    shapes = ("N = 256", "D = 8192")
    assert titles == [f"{passes}, {shape}" for passes, shape in itertools.product(selection.PASSES, shapes)]


def test_the_map_has_a_number_or_a_reason_in_each_cell():
    result = loss_result()
    assert speedup.grid_of(result["cells"]) == ([64, 256, 1024], [512, 2048, 8192])
    result["cells"].append({**result["cells"][3], "n": 64})
    drawn = speedup.draw(result)
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts.count("30×") == 7 and texts.count("does\nnot fit") == 2 and texts.count("") == 3


def test_the_distance_from_the_floor_is_that_of_the_rounds():
    cell = loss_result()["cells"][0]
    assert floor.over_floor(cell, "bt_kernels", "forward alone")["q20"] == 0.9
    cell["candidates"]["gram"] = {"status": "ok", "ms": {"q50": 2 * cell["candidates"]["floor"]["ms"]["q50"]}}
    assert floor.over_floor(cell, "gram", "forward + backward") == {"q50": pytest.approx(2)}
    assert floor.over_floor(cell, "gram", "forward alone") is None


def test_the_command_draws_what_there_is_and_nothing_else(tmp_path, capsys):
    path = tmp_path / "result.json"
    path.write_text(json.dumps(loss_result()))
    assert plot.main([str(path)]) == 0
    assert [(tmp_path / f"result-{what}.png").stat().st_size > 10_000 for what in draw.PICTURES] == [True] * 4
    result = loss_result()
    result["cells"] = result["cells"][:1]
    assert draw.draw(result, tmp_path / "one.json") == []


def test_it_refuses_another_file(tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(SystemExit) as stop:
        plot.main([str(other)])
    assert stop.value.code == 2
    assert "no result file" in capsys.readouterr().err


def test_labels_are_spread_in_order():
    places = spread([0.5, 0.5, 0.51, 0.99, 1.0], 0.1, 1.0)
    ordered = sorted(places)
    assert all(b - a >= 0.099 for a, b in itertools.pairwise(ordered))
    assert max(places) <= 1.0
