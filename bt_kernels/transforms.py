"""What may be done with the loss beyond calling it and going backward: torch.func's transforms, and tracers.

torch.func.grad and what is made of it (vjp, jacrev) work. What cannot is refused here, by a sentence: torch would
speak of the loss's inside, or keep a forward without its backward.
"""

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch.autograd import forward_ad

from bt_kernels.torch_versions import constant_to_dynamo

# The first that applies is said: jacfwd and hessian batch forward-mode derivatives.
REFUSED = {
    TransformType.Jvp: "the Barlow Twins loss has no forward-mode derivative: take its gradient, by backward() or "
    "torch.func.grad",
    TransformType.Vmap: "torch.vmap cannot batch the Barlow Twins loss, whose samples belong to one another: "
    "call it for each batch",
    TransformType.Functionalize: "torch.func.functionalize cannot go through the Barlow Twins loss",
}
COMPILED = "torch.compile cannot transform the Barlow Twins loss: call torch.func outside of what is compiled"


# Asked while torch.compile traces, which guards the transforms.
@constant_to_dynamo
def refused(compiling: bool) -> str | None:
    """Why the loss cannot be in the transforms that are under way, in one sentence; None if it can."""
    levels = torch._C._functorch.get_interpreter_stack()
    if not levels:  # asked at every call
        return None
    active = {level.key() for level in levels}
    sentence = next((sentence for kind, sentence in REFUSED.items() if kind in active), None)
    if sentence is None and compiling:
        sentence = COMPILED  # it takes the forward for differentiable as it is
    return sentence


def has_tangent(z: Tensor) -> bool:
    # While torch.compile traces there is none to see.
    return torch.compiler.is_compiling() or (
        isinstance(z, Tensor) and forward_ad.unpack_dual(z).tangent is not None
    )


def check_transforms(z_a: Tensor, z_b: Tensor) -> None:
    """Raises RuntimeError for transforms and tracers that the loss does not know."""
    sentence = refused(torch.compiler.is_compiling())  # which up to 2.11 is false inside
    if sentence is None and forward_ad._current_level >= 0 and (has_tangent(z_a) or has_tangent(z_b)):
        sentence = REFUSED[TransformType.Jvp]
    if sentence is None and torch.jit.is_tracing():  # it would keep the forward without its backward
        sentence = (
            "torch.jit.trace cannot keep the Barlow Twins loss: trace the model without it, or use torch.compile"
        )
    if sentence is not None:
        raise RuntimeError(sentence)
