"""Which of torch's settings make float32 tf32, by their old and new names, before and after a compilation."""

import contextlib
import warnings

import pytest
import torch

from bt_kernels import barlow_twins_terms, once
from bt_kernels.backends.float32_products import tf32
from bt_kernels.torch_versions import RELEASE

needs_new_names = pytest.mark.skipif(RELEASE < (2, 9), reason="fp32_precision is new in torch 2.9")
GENERAL, MATMUL, CUDNN = torch.backends, torch.backends.cuda.matmul, torch.backends.cudnn


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def compile_something() -> None:
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))


def apply(steps: str) -> None:
    """Such as "general tf32, compile, matmul ieee"."""
    for step in steps.split(", "):
        match step.split():
            case ["general", precision]:
                GENERAL.fp32_precision = precision
            case ["matmul", precision]:
                MATMUL.fp32_precision = precision
            case ["cudnn", precision]:
                CUDNN.fp32_precision = precision
            case ["allow_tf32", flag]:
                MATMUL.allow_tf32 = flag == "True"
            case ["set", precision]:
                torch.set_float32_matmul_precision(precision)
            case ["compile"]:
                compile_something()


@pytest.fixture(autouse=True)
def restore(monkeypatch):
    monkeypatch.setattr(once, "_said", set())
    torch._dynamo.reset()
    yield
    torch.set_float32_matmul_precision("highest")
    if RELEASE >= (2, 9):
        for setting in (GENERAL, MATMUL, CUDNN):
            setting.fp32_precision = "none"
    torch._dynamo.reset()


OLD_NAMES = {
    "set highest": False,
    "set high": True,
    "set high, set highest": False,
    "allow_tf32 True": True,
    "allow_tf32 True, allow_tf32 False": False,
    "compile, allow_tf32 True": True,
    "allow_tf32 True, compile, allow_tf32 False": False,
}
NEW_NAMES = {
    "general tf32": True,
    "general tf32, general ieee": False,
    "matmul tf32": True,
    "matmul tf32, matmul ieee": False,
    "cudnn tf32": True,  # as PyTorch's own matmul has it
    "compile, general tf32": True,
    "compile, matmul tf32": True,
    "matmul tf32, compile, matmul ieee": False,
    "matmul tf32, allow_tf32 False": False,
    "allow_tf32 True, matmul ieee": False,
    "general tf32, compile, general none, matmul none": False,
}
CONTRADICTIONS = (
    "general tf32, compile, general ieee",
    "general ieee, compile, general tf32",
    "general ieee, cudnn tf32",
    "cudnn tf32, general ieee",
    "set high, general ieee",
    "general tf32, allow_tf32 False",
)


@pytest.mark.parametrize("steps, expected", OLD_NAMES.items())
def test_old_names(steps, expected):
    apply(steps)
    with no_warning():
        assert tf32(torch.float32) == expected
        assert not tf32(torch.bfloat16)


@needs_new_names
@pytest.mark.parametrize("steps, expected", NEW_NAMES.items())
def test_new_names_and_both(steps, expected):
    apply(steps)
    with no_warning():
        assert tf32(torch.float32) == expected


@needs_new_names
@pytest.mark.parametrize("steps", CONTRADICTIONS)
def test_the_precise_one_of_two_wins_with_one_warning(steps):
    apply(steps)
    with no_warning():
        assert not tf32(torch.float16)
    with pytest.warns(RuntimeWarning, match="torch.backends.fp32_precision = torch.backends.cuda"):
        assert not tf32(torch.float32)
    with no_warning():
        assert not tf32(torch.float32)
        for precision in ("tf32", "ieee"):  # what the warning says
            GENERAL.fp32_precision = MATMUL.fp32_precision = precision
            assert tf32(torch.float32) == (precision == "tf32")


@needs_new_names
@pytest.mark.filterwarnings("ignore:torch.backends.fp32_precision is")
def test_compiled_code_follows_the_general_setting_also_where_matmul_has_kept_another():
    """A constant of the graph, which Dynamo guards by the general setting and by matmul's."""

    def ask(x):
        return x + 1 if tf32(x.dtype) else x

    compiled = torch.compile(ask, fullgraph=True, backend="eager")
    for precision in ("tf32", "ieee", "tf32"):
        GENERAL.fp32_precision = precision
        assert compiled(torch.zeros(())) == ask(torch.zeros(()))
    assert MATMUL.fp32_precision == "tf32"  # kept by the first compilation


@needs_new_names
@pytest.mark.backends("cpu", "eager", why="only where the kernels read the setting")
def test_the_backends_without_tf32_ask_nothing(backend):
    """No warning on a CPU, whose products know no tf32."""
    apply("general ieee, cudnn tf32")
    with no_warning():
        barlow_twins_terms(torch.randn(4, 3), torch.randn(4, 3), backend=backend)
