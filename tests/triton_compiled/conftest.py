"""The kernels compiled ahead of time for GPUs that need not be here, once per session, on all cores."""

import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from bt_kernels.backends import triton as backend

MAX_WORKERS = 16  # each has its own torch and Triton in memory

# Under TRITON_INTERPRET=1 triton.jit makes functions for the interpreter, which cannot be compiled.
collect_ignore_glob = ["test_*.py"] if backend.INTERPRETED else []


@pytest.fixture(scope="session")
def reports(request, tmp_path_factory):
    """variant -> Future of its Report, for the variants whose tests were selected."""
    from tests.triton_compiled.compile import compile_variant

    selected = {
        item.callspec.params["launch"].variant: None
        for item in request.session.items
        if "launch" in getattr(getattr(item, "callspec", None), "params", {})
    }
    with pytest.MonkeyPatch.context() as patch:
        # ptxas has to run, for its log, and the user's cache is left alone.
        patch.setenv("TRITON_ALWAYS_COMPILE", "1")
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        # A fork would inherit torch's threads in whatever state they are.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(os.cpu_count(), MAX_WORKERS), mp_context=context) as pool:
            futures: dict[object, Future] = {v: pool.submit(compile_variant, v) for v in selected}
            yield futures
            pool.shutdown(cancel_futures=True)


@pytest.fixture
def report(reports, launch):
    return reports[launch.variant].result()
