"""What a user sees of the package: documented names, pages made of them, types."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
import torch

import bt_kernels
from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms, presets
from tests.support.peer_presets import loss_of

ROOT = Path(__file__).parents[2]
PUBLIC = {name: getattr(bt_kernels, name) for name in bt_kernels.__all__ if name != "__version__"}
PRESETS = {name: loss_of(name) for name in presets.__all__}
EMBEDDINGS = ("barlow_twins_loss", "barlow_twins_terms", "cross_correlation", "cross_correlation_blocks")

USE = """
import torch
from bt_kernels import BarlowTwinsLoss, LossTerms, barlow_twins_loss, barlow_twins_terms, cross_correlation
from bt_kernels.presets import lightly, monai
from bt_kernels.presets.solo import barlow_loss_func

z = torch.zeros(4, 8)
loss: torch.Tensor = barlow_twins_loss(z, z, lambd=0.005)
terms: LossTerms = barlow_twins_terms(z_a=z, z_b=z)
terms = BarlowTwinsLoss(0.005).terms(z, z)
c: torch.Tensor = cross_correlation(z, z)
loss = barlow_loss_func(z, z, lamb=0.005)


class Counted(lightly.BarlowTwinsLoss):
    calls: int = 0

    def forward(self, z_a: torch.Tensor, z_b: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(z_a, z_b)


preset: lightly.BarlowTwinsLoss | None = Counted(5e-3, gather_distributed=True)
criterion: BarlowTwinsLoss = preset if isinstance(preset, lightly.BarlowTwinsLoss) else monai.BarlowTwinsLoss()
preset = monai.BarlowTwinsLoss()  # wrong
lightly.BarlowTwinsLoss(lambd=0.005)  # wrong
barlow_twins_loss(z, z, lambd="0.005")  # wrong
barlow_twins_loss(z, z, lamda=0.005)  # wrong
BarlowTwinsLoss(0.005, 1e-12)  # wrong
"""


@pytest.mark.parametrize("name", [*PUBLIC, *PRESETS])
def test_every_public_name_is_documented(name):
    found = {**PUBLIC, **PRESETS}[name]
    assert found.__doc__ and not found.__doc__.startswith(f"{name}("), "a NamedTuple's own docstring is no help"
    if name in PRESETS or name in ("BarlowTwinsLoss", *EMBEDDINGS):
        assert "Raises" in found.__doc__
    if name in EMBEDDINGS:
        assert "(N, D)" in inspect.getsource(found) and "D)" in found.__doc__, "no shapes"


def test_the_options_are_the_same_in_each_place():
    """To help(), an IDE or a command line that is made of the class: names, kinds, defaults, types."""
    loss, terms, module = map(inspect.signature, (barlow_twins_loss, barlow_twins_terms, BarlowTwinsLoss))
    assert loss.parameters == terms.parameters
    assert (loss.return_annotation, terms.return_annotation) == ("Tensor", "LossTerms")
    assert get_type_hints(barlow_twins_loss) == {**get_type_hints(barlow_twins_terms), "return": torch.Tensor}
    (*views, lambd), (of_the_module, *options) = list(loss.parameters.values())[:3], module.parameters.values()
    assert [view.name for view in views] == ["z_a", "z_b"]
    assert of_the_module == lambd.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)
    assert options == list(loss.parameters.values())[3:]
    assert {option.kind for option in options} == {inspect.Parameter.KEYWORD_ONLY}


def test_every_argument_of_the_loss_is_described():
    arguments = list(inspect.signature(bt_kernels.barlow_twins_loss).parameters)
    described = bt_kernels.barlow_twins_loss.__doc__.partition("Args:")[2]
    assert [name for name in arguments if name not in described.partition("Over W processes")[0]] == []


def test_pages_are_made_without_a_warning(tmp_path):
    pytest.importorskip("pdoc", reason="pdoc is not installed")
    command = [sys.executable, "-W", "error", "-m", "pdoc", "--output-directory", str(tmp_path), "bt_kernels"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "bt_kernels.html").read_text()
    assert all(f'id="{name}"' in page for name in PUBLIC if name != "presets")
    for name, loss in PRESETS.items():
        page = (tmp_path / "bt_kernels" / "presets" / f"{name}.html").read_text()
        assert f'id="{loss.__name__}"' in page


def test_users_get_types(tmp_path):
    """The return types and the options are known, and the wrong arguments are the only errors."""
    pytest.importorskip("mypy", reason="mypy is not installed")
    assert (Path(bt_kernels.__file__).parent / "py.typed").exists()
    use = tmp_path / "use.py"
    use.write_text(USE)
    # From here, with the settings and the cache of make lint: torch's own types take a while to read.
    command = [sys.executable, "-m", "mypy", str(use)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line for line in checked.stdout.splitlines() if "error:" in line]
    wrong = [number for number, line in enumerate(USE.splitlines(), 1) if line.endswith("# wrong")]
    assert [int(line.split(":")[1]) for line in errors] == wrong, checked.stdout + checked.stderr
