"""What a user sees of the package: documented names, pages made of them, types."""

import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest
import torch

import bt_kernels
from bt_kernels import BarlowTwinsLoss, barlow_twins_loss, barlow_twins_terms, presets
from tests.support.peer_presets import loss_of

pytestmark = pytest.mark.runs_on("cpu")

PUBLIC = {name: getattr(bt_kernels, name) for name in bt_kernels.__all__ if name != "__version__"}
PRESETS = {name: loss_of(name) for name in presets.__all__}
EMBEDDINGS = ("barlow_twins_loss", "barlow_twins_terms", "cross_correlation", "cross_correlation_blocks")


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


@pytest.mark.long
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
