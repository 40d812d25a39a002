"""A few steps for compute-sanitizer: odd sizes, each kernel, both formulations, float32 and bfloat16.

The backend is the command's argument.
"""

import sys

import torch

from bt_kernels import barlow_twins_loss

# One tile and its tail; several tiles, statistics by chunks and the gradient by panels.
SHAPES = ((33, 70), (600, 130))


def main(backend: str) -> None:
    torch.manual_seed(0)
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16):
            for formulation in ("gram", "correlation"):
                z = [torch.randn(shape).to("cuda", dtype).requires_grad_() for _ in range(2)]
                barlow_twins_loss(*z, backend=backend, formulation=formulation).backward()
                assert all(x.grad.isfinite().all() for x in z)


if __name__ == "__main__":
    main(sys.argv[1])
