"""The kernels compiled for GPUs that need not be here, on all cores, where no earlier run has done so."""

import pytest

from bt_kernels.backends import triton as backend
from tests.support.outcomes import Outcomes
from tests.support.selection import only_on

pytest_ignore_collect = only_on("cpu")

# Under TRITON_INTERPRET=1 triton.jit makes functions for the interpreter, which cannot be compiled.
collect_ignore_glob = ["test_*.py"] if backend.INTERPRETED else []


@pytest.fixture(scope="session")
def reports(request, tmp_path_factory):
    """variant -> its Report, of the variants whose tests were selected."""
    from tests.triton_compiled.compile import Report, compile_variant

    selected = {
        item.callspec.params["launch"].variant: None
        for item in request.session.items
        if "launch" in getattr(getattr(item, "callspec", None), "params", {})
    }
    outcomes = Outcomes(request.config.cache.mkdir("triton_compiled"))
    with pytest.MonkeyPatch.context() as patch:
        # ptxas has to run, for its log, and the user's cache is left alone.
        patch.setenv("TRITON_ALWAYS_COMPILE", "1")
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        keys = {variant: variant.key() for variant in selected}
        for variant, key in keys.items():
            outcomes.begin(key, compile_variant, variant)
        yield lambda variant: Report.read(outcomes[keys[variant]])
        outcomes.close()


@pytest.fixture
def report(reports, launch):
    return reports(launch.variant)
