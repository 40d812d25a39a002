#!/usr/bin/env bash
# torch 2.13.0: torch.compile(torch.func.grad(f)) differentiates the forward of a custom torch.autograd.Function and
# never calls its backward. The same transform without torch.compile does, and so does backward() through the compiled f.
#
# Seen: a straight-through sign, whose backward hands the gradient on. torch.func.grad gives the weights 1, 2, 3;
# compiled with fullgraph=True, by the backends eager, aot_eager and inductor, it gives 0, 0, 0, the derivative of sign,
# without a warning. A fused loss is such a Function: where the derivative of its forward is not its backward, a compiled
# torch.func.grad trains on a wrong gradient.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.2.6
"$folder/venv/bin/python" - <<'PY'
import torch


class StraightThroughSign(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return torch.sign(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def weighted(x):
    return (StraightThroughSign.apply(x) * torch.tensor([1.0, 2.0, 3.0])).sum()


x = torch.tensor([0.5, -1.0, 2.0])
right = torch.func.grad(weighted)(x).tolist()
compiled = []
for backend in ("eager", "aot_eager", "inductor"):
    torch.compiler.reset()
    compiled.append(torch.compile(torch.func.grad(weighted), backend=backend, fullgraph=True)(x).tolist())
leaf = x.clone().requires_grad_()
torch.compile(weighted, backend="aot_eager", fullgraph=True)(leaf).backward()
print(f"torch {torch.__version__}: torch.func.grad {right}, compiled {compiled}, compiled f.backward() {leaf.grad.tolist()}")
assert right == leaf.grad.tolist() == [1.0, 2.0, 3.0], "the custom backward is not called without torch.compile either"
assert compiled == 3 * [[0.0, 0.0, 0.0]], "the compiled torch.func.grad has changed"
PY
