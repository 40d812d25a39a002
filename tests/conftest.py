"""The --device option, and fixtures that span the suite: which backend and which formulation, the loss bound to
them and the standard it is held to."""

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

# Before torch loads OpenMP: threads that spin at every barrier make small operations a hundred times slower where
# other processes want the same cores.
os.environ["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY", "PASSIVE")
# A cache of compiled graphs outlives a change of an op's schema, and then hands out graphs that call the op as it
# was.
inductor_cache = tempfile.TemporaryDirectory(prefix="inductor_cache_")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = inductor_cache.name

if os.environ.get("TRITON_INTERPRET") == "1":
    from tests.support import interpreter_bf16  # noqa: F401  before bt_kernels decorates its kernels

import hypothesis
import pytest
import torch

from bt_kernels import available_backends, barlow_twins_terms
from bt_kernels.backends import triton
from bt_kernels.torch_versions import RELEASE
from bt_kernels.trainer.packages import missing_packages
from tests.support import target
from tests.support.pairwise import beyond_pairs

# Deterministic examples: a red run is red again. No deadline: machines differ, and no test asserts time.
hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, max_examples=40, database=None)
hypothesis.settings.register_profile("interpreted", hypothesis.settings.get_profile("suite"), max_examples=5)
# pytest tests/fuzz --hypothesis-profile fuzz: many new examples each time; the seed to repeat them is printed.
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=1000, database=None, print_blob=True)

# What is collected where. Folders and files: those of the C++ ops, of the build and of plain
# Python run with the CPU's tests alone. What is left out for one backend or device inside a file has a mark
# (pyproject.toml), and a float64 parameter is left out for the backends that refuse it.
CPU_ONLY = {
    "benchmarks", "cuda_compiled", "distributed", "fuzz", "trainer", "triton_compiled",
    "test_cuda_numeric.py", "test_cuda_schedule.py", "test_info.py", "test_install.py", "test_install_cuda.py",
    "test_memory.py", "test_ops.py", "test_options.py", "test_package.py", "test_reference.py", "test_registry.py",
    "test_rounded_operands.py", "test_schedule.py", "test_torch_ops.py",
    "test_metadata.py", "versions",
}  # fmt: skip
TRITON_ONLY = {"test_triton_ops.py", "test_triton_paths.py"}
EMULATED_ONLY = {"cuda_emulated", "test_cuda_paths.py"}
NARROW_ONLY = {"test_tf32.py", *TRITON_ONLY}  # there, the eager backend is left out
LEFT_OUT = {
    "cpu": {"gpu", "test_interpreter_bf16.py", "test_cuda_ops.py", *NARROW_ONLY, *EMULATED_ONLY},
    "interpreter": {"gpu", "test_diagnostics.py", "test_module.py", "test_cuda_ops.py", *EMULATED_ONLY, *CPU_ONLY},
    "emulated": {
        "gpu",
        "test_interpreter_bf16.py",
        "test_diagnostics.py",
        "test_module.py",
        *TRITON_ONLY,
        *CPU_ONLY,
    },
    "cuda": {"test_interpreter_bf16.py", *EMULATED_ONLY, *CPU_ONLY},
}
# Folders and files that import the trainer, and so are skipped where its packages are missing.
TRAINED = {
    "trainer", "test_fuzz_images.py", "test_fuzz_options.py", "test_fuzz_shards.py", "test_fuzz_weights.py",
    "test_paper.py", "test_result_paths.py", "test_step.py", "test_gpu_trainer.py",
}  # fmt: skip
MARKS_LEFT_OUT = {
    "cpu": set(),
    "interpreter": {"cpu_only", "not_interpreted"},
    "emulated": {"cpu_only", "not_interpreted"},
    "cuda": {"cpu_only"},
}


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        choices=tuple(target.BACKENDS),
        default="cpu",
        help="the backends cpu and eager; triton or cuda on CPU tensors; or all that there are on a GPU",
    )


def pytest_configure(config):
    device = config.getoption("--device")
    if device == "interpreter" and not triton.INTERPRETED:
        raise pytest.UsageError("--device interpreter needs TRITON_INTERPRET=1 in the environment")
    if device == "cuda" and triton.INTERPRETED:
        raise pytest.UsageError("--device cuda needs TRITON_INTERPRET not to be set: it turns compiling off")
    if device == "cuda" and not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda needs a GPU, and torch sees none")
    target.choose(device)
    if device == "emulated":
        emulate_cuda(config)
    if device == "interpreter":  # numpy warns where a GPU goes on with Inf or NaN
        config.addinivalue_line("filterwarnings", "ignore::RuntimeWarning:triton.runtime.interpreter")
    if device == "cuda":  # cuBLAS wants it for torch.use_deterministic_algorithms, before its first product
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile(target.few("suite", "interpreted"))


def emulate_cuda(config) -> None:
    """Builds the kernels for the CPU, where they are not there from an earlier run, and loads them."""
    from bt_kernels.backends import cuda
    from tests.cuda_emulated.build import BuildError, build

    try:
        target.set_emulated_library(build(config.cache.mkdir("cuda_emulated")))
    except BuildError as error:
        raise pytest.UsageError(f"--device emulated: {error}") from None
    cuda.emulate(target.emulated_library())


def pytest_ignore_collect(collection_path, config):
    return True if collection_path.name in LEFT_OUT[target.name()] else None


class WithoutTrainer(pytest.Module):
    def collect(self):
        pytest.skip(f"the trainer needs {', '.join(missing_packages())}")


def pytest_pycollect_makemodule(module_path, parent):
    trained = not TRAINED.isdisjoint(module_path.relative_to(Path(__file__).parent).parts)
    return WithoutTrainer.from_parent(parent, path=module_path) if trained and missing_packages() else None


def left_out(item) -> bool:
    if any(item.get_closest_marker(mark) for mark in MARKS_LEFT_OUT[target.name()]):
        return True
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    backend = parameters.get("backend")
    if backend not in target.NARROW:
        return backend is not None and (item.path.name in NARROW_ONLY or item.path.parent.name == "gpu")
    if backend != "triton" and item.path.name in TRITON_ONLY:
        return True
    return parameters.get("dtype") == torch.float64 or item.get_closest_marker("not_narrow") is not None


def pytest_collection_modifyitems(config, items):
    deselected = [item for item in items if left_out(item)]
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if not left_out(item)]
    if target.name() in ("interpreter", "emulated"):
        for item in items:
            if item.get_closest_marker("long_interpreted"):
                item.add_marker("long")
        for item in list(beyond_pairs(items)):  # of many combinations a short run has the pairs
            item.add_marker("long")


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", target.BACKENDS[target.name()], indirect=True)


@pytest.fixture
def backend(request) -> str:
    ok, reason, _ = available_backends(target.device())[request.param]
    if not ok and request.param == "cuda" and target.name() == "cuda" and shutil.which("nvcc") is None:
        pytest.skip(reason)
    if not ok and request.param in target.NARROW:
        pytest.fail(f"the {request.param} backend does not work on {target.device()}: {reason}")
    asked = "BT_KERNELS_CPP=0" not in reason and RELEASE >= (2, 10)  # the stable ABI of the C++ ops
    if not ok and asked and any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.fail(f"there is a C++ compiler here, but the {request.param} backend does not work: {reason}")
    if not ok:
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=["correlation", "gram"])
def formulation(request) -> str:
    return request.param


@pytest.fixture
def terms(backend, formulation):
    """barlow_twins_terms(z_a, z_b, **options) -> LossTerms for this backend and formulation."""
    return partial(barlow_twins_terms, backend=backend, formulation=formulation)


@pytest.fixture
def widest(backend) -> torch.dtype:
    """The widest dtype that this backend takes."""
    return torch.float32 if backend in target.NARROW else torch.float64


@pytest.fixture
def narrow_products(backend, formulation):
    """What this backend rounds before its products: those for GPUs the operands, the others nothing."""
    from tests.support.accuracy import NarrowProducts  # not above: inputs.py asks for the device

    return NarrowProducts(formulation) if backend in target.NARROW else None


@pytest.fixture
def yardstick(narrow_products):
    """(n, d, dtype, formula, seed) -> accuracy.Yardstick of inputs.views(n, d, dtype, seed) for this backend."""
    from tests.support.accuracy import yardstick

    return partial(yardstick, narrow_products)


@pytest.fixture
def yardstick_of(narrow_products):
    """(z_a, z_b, formula) -> accuracy.Yardstick of these embeddings for this backend."""
    from tests.support.accuracy import Yardstick

    return partial(Yardstick, narrow_products)


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
