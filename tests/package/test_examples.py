"""The examples run as they are, with smaller numbers."""

import importlib.util
import math
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.runs_on("cpu")

ARGUMENTS = {
    "swap_into_pytorch_loop.py": ["--steps", "12", "--batch", "64", "--width", "64"],
    "with_lightly.py": ["--images", "32", "--width", "32"],
    "custom_data.py": ["--epochs", "2", "--batch", "16", "--width", "32"],
}


def run(name: str, arguments: list[str], monkeypatch, folder: Path) -> list[float]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", [name, *arguments])
    return runpy.run_path(str(EXAMPLES / name))["main"]()


def test_every_example_is_run_and_described():
    scripts = {path.name for path in EXAMPLES.glob("*.py")}
    assert scripts == set(ARGUMENTS)
    described = (EXAMPLES / "README.md").read_text()
    assert all(f"({name})" in described for name in scripts)


@pytest.mark.long
@pytest.mark.parametrize("name", ARGUMENTS)
def test_it_runs_from_beginning_to_end(name, monkeypatch, tmp_path):
    if name == "with_lightly.py" and importlib.util.find_spec("lightly") is None:
        pytest.skip("lightly is not installed; make test-peers runs it")
    losses = run(name, ARGUMENTS[name], monkeypatch, tmp_path)
    assert all(map(math.isfinite, losses)) and len(losses) > 1
    if name == "swap_into_pytorch_loop.py":  # the others have random images, or two steps
        assert losses[-1] < losses[0]
    if name == "custom_data.py":
        weights = torch.load(tmp_path / "backbone.pth")
        assert "conv1.weight" in weights and not any(key.startswith("fc.") for key in weights)


def test_custom_data_takes_a_folder_and_says_what_is_wrong_with_it(monkeypatch, tmp_path):
    with pytest.raises(SystemExit, match="no image files"):
        run("custom_data.py", ["--images", str(tmp_path)], monkeypatch, tmp_path)
    (tmp_path / "cats").mkdir()
    image = pytest.importorskip("PIL.Image").new("RGB", (40, 30), "red")
    for index in range(3):
        image.save(tmp_path / "cats" / f"{index}.jpg")
    with pytest.raises(SystemExit, match="--batch 32 is more than the 3 images"):
        run("custom_data.py", ["--images", str(tmp_path)], monkeypatch, tmp_path)
    (tmp_path / "cats" / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"cats/0\.jpg cannot be read \(it is no image that Pillow knows\)"):
        run("custom_data.py", ["--images", str(tmp_path), "--batch", "3"], monkeypatch, tmp_path)
