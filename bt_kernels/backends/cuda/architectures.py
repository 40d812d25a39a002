"""Which GPUs the compiled kernels run on. Architectures by TORCH_CUDA_ARCH_LIST's names: 8.0, 9.0a, 12.0+PTX."""

import re
from collections.abc import Iterable

Capability = tuple[int, int]  # major, minor
CLUSTERS = (9, 0)  # the first GPUs that have them


def runs_on(architecture: str, device: Capability) -> bool:
    """Machine code runs within its major version from its minor version on, that of an "f", its family, too; that
    of an "a" on this one capability alone. What has no letter may be kept as PTX too, which any later GPU
    translates. But code for GPUs without clusters knows nothing of those that a newer GPU is asked for.
    """
    parsed = re.fullmatch(r"(\d+)\.(\d)([af]?)(\+PTX)?", architecture)
    assert parsed is not None, architecture  # build_cuda.py writes no other
    major, minor, kind, ptx = parsed.groups()
    built = int(major), int(minor)
    if kind == "a":
        return device == built
    if device[0] == built[0] and device >= built:
        return True
    return ptx is not None and not kind and device >= built and (built >= CLUSTERS or device < CLUSTERS)


def any_runs_on(architectures: Iterable[str], device: Capability) -> bool:
    return any(runs_on(architecture, device) for architecture in architectures)
