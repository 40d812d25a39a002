"""What a user sees of the package: documented names, pages made of them, types."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import bt_kernels
from bt_kernels import presets

ROOT = Path(__file__).parents[1]
PUBLIC = {name: getattr(bt_kernels, name) for name in bt_kernels.__all__ if name != "__version__"}
PRESETS = {
    name: f for name, f in vars(presets).items() if inspect.isfunction(f) and f.__module__ == presets.__name__
}
EMBEDDINGS = ("barlow_twins_loss", "cross_correlation", "cross_correlation_blocks")

USE = """
import torch
from bt_kernels import BarlowTwinsLoss, LossTerms, barlow_twins_loss, cross_correlation
from bt_kernels.presets import lightly

z = torch.zeros(4, 8)
loss: torch.Tensor = barlow_twins_loss(z, z, lambd=0.005)
terms: LossTerms = barlow_twins_loss(z, z, return_terms=True)
c: torch.Tensor = cross_correlation(z, z)
criterion: BarlowTwinsLoss = lightly(5e-3)
barlow_twins_loss(z, z, lambd="0.005")
"""


@pytest.mark.parametrize("name", [*PUBLIC, *PRESETS])
def test_every_public_name_is_documented(name):
    found = {**PUBLIC, **PRESETS}[name]
    assert found.__doc__ and not found.__doc__.startswith(f"{name}("), "a NamedTuple's own docstring is no help"
    if name in PRESETS or name in ("BarlowTwinsLoss", *EMBEDDINGS):
        assert "Raises" in found.__doc__
    if name in EMBEDDINGS:
        assert "(N, D)" in inspect.getsource(found) and "D)" in found.__doc__, "no shapes"


def test_every_argument_of_the_loss_is_described():
    arguments = list(inspect.signature(bt_kernels.barlow_twins_loss).parameters)
    described = bt_kernels.barlow_twins_loss.__doc__.partition("Args:")[2]
    assert [name for name in arguments if name not in described.partition("Over W processes")[0]] == []
    assert list(inspect.signature(bt_kernels.BarlowTwinsLoss).parameters) == arguments[2:]


def test_pages_are_made_without_a_warning(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    command = [sys.executable, "-W", "error", "-m", "pdoc", "--output-directory", str(tmp_path), "bt_kernels"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "bt_kernels.html").read_text() + (tmp_path / "bt_kernels" / "presets.html").read_text()
    assert all(f'id="{name}"' in page for name in [*PUBLIC, *PRESETS] if name != "presets")


def test_users_get_types(tmp_path):
    """Both of the loss's return types are known, and a wrong argument is the one error."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    assert (Path(bt_kernels.__file__).parent / "py.typed").exists()
    use = tmp_path / "use.py"
    use.write_text(USE)
    # From here, with the settings and the cache of make lint: torch's own types take a while to read.
    command = [sys.executable, "-m", "mypy", str(use)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    first, *others = [line for line in checked.stdout.splitlines() if "error:" in line]
    assert "use.py:11: error:" in first and not others, checked.stdout + checked.stderr
