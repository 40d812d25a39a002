"""The public face: barlow_twins_loss and BarlowTwinsLoss. Checks the input, resolves options, returns the loss."""

from __future__ import annotations

from inspect import signature
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bt_kernels.backends.registry import BACKENDS, choose_backend
from bt_kernels.distributed.options import NOT_GIVEN, DistributedOptions, NotGiven, check_together
from bt_kernels.embeddings import check_embeddings, plain
from bt_kernels.formulation import choose_formulation
from bt_kernels.function import differentiable
from bt_kernels.option_attributes import OTHERS_NAMES, Option, no_option, refuse_hidden, written_names
from bt_kernels.options import LossOptions
from bt_kernels.signature import signature_of
from bt_kernels.standard_deviation_eps import scaled_for_std_eps
from bt_kernels.terms import LossTerms
from bt_kernels.torch_versions import is_exporting
from bt_kernels.transforms import check_transforms
from bt_kernels.weighting import check_devices


def check(z_a: Tensor, z_b: Tensor, options: LossOptions, least_samples: int = 2) -> None:
    """Raises TypeError, ValueError or RuntimeError unless the loss can be computed of these."""
    check_transforms(z_a, z_b)
    check_embeddings(z_a, z_b, least_samples)
    check_devices(options, z_a.device)


def compute_terms(z_a: Tensor, z_b: Tensor, options: LossOptions, distributed: DistributedOptions) -> LossTerms:
    """The loss and its two terms for validated options; see barlow_twins_loss."""
    distributed = distributed.at_this_call()
    if not distributed.alone:
        from bt_kernels.distributed.loss import global_batch_terms  # imports torch._dynamo, which takes a second

        terms = global_batch_terms(
            z_a, z_b, options, distributed, lambda: check(z_a, z_b, options, least_samples=0)
        )
        return LossTerms(*terms)
    check(z_a, z_b, options)
    z_a, z_b = plain(z_a), plain(z_b)
    if options.eps_added_to == "std":
        z_a, z_b = (scaled_for_std_eps(z, options) for z in (z_a, z_b))
    formulation = choose_formulation(options.formulation, *z_a.shape)
    stages = BACKENDS[choose_backend(options.backend, z_a.device, z_a.dtype)]
    # Asked here, because autograd turns grad mode off inside Function.forward.
    needs_backward = torch.is_grad_enabled() and (z_a.requires_grad or z_b.requires_grad)
    if needs_backward and is_exporting():
        # torch.export keeps the ops of the forward and forgets the backward that goes with them.
        raise RuntimeError(
            "torch.export cannot keep the backward of the Barlow Twins loss: export it under torch.no_grad(), or "
            "export the model without the loss"
        )
    return LossTerms(*differentiable(z_a, z_b, options, formulation, stages, needs_backward))


# To torch.fx.symbolic_trace one call, and not what is in it.
torch.fx.wrap("compute_terms")


def barlow_twins_terms(
    z_a: Tensor,  # (N, D)
    z_b: Tensor,  # (N, D)
    *,
    lambd: float | Tensor = 0.0051,
    scale: float | Tensor = 1.0,
    eps: float = 1e-5,
    unbiased: bool = False,
    formulation: str = "auto",
    backend: str = "auto",
    process_group: dist.ProcessGroup | str | NotGiven | None = NOT_GIVEN,
    gradient: str = "whole",
    statistics: str = "global",
    eps_added_to: str = "variance",
) -> LossTerms:
    """The Barlow Twins loss and the two terms that it is made of, in one pass.

    Takes the embeddings of two views, (N, D) each, and the options of barlow_twins_loss, which describes them.

    Returns:
        LossTerms(loss, on_diagonal, off_diagonal): three scalars, each of which can be differentiated.

    Raises:
        TypeError, ValueError, RuntimeError: as barlow_twins_loss does.
    """
    try:
        options = LossOptions(lambd, scale, eps, unbiased, formulation, backend, eps_added_to)
        distributed = DistributedOptions(process_group, gradient, statistics)
        check_together(options, distributed)
    except (TypeError, ValueError) as error:
        if process_group is None or process_group is NOT_GIVEN:
            raise
        from bt_kernels.distributed.loss import raise_on_every_rank

        raise_on_every_rank(process_group, error)
    return compute_terms(z_a, z_b, options, distributed)


OPTIONS = tuple(signature(barlow_twins_terms).parameters)[2:]


@signature_of(barlow_twins_terms)
def barlow_twins_loss(z_a: Tensor, z_b: Tensor, **options: Any) -> Tensor:
    """Barlow Twins loss of two views' embeddings (Zbontar et al., ICML 2021, eq. 1 and 2).

    y are the embeddings, each feature standardized over the batch. C = y_a^T y_b / N is their cross-correlation.

        loss = scale * (sum_i (1 - C_ii)^2 + lambd * sum_{i != j} C_ij^2)

    The defaults are those of the authors' code. When N < D, no D x D matrix is formed. Over ranks, where the
    embeddings have to be sent as well, this holds from a larger D on: 1.6 N for two ranks, N for many.

    Args:
        z_a, z_b: embeddings, (N, D), N >= 2, any strides; float64, float32, bfloat16 or float16. Autocast does not
            change their dtype, and sums are accumulated in float32 or wider. DTensor, and other subclasses that
            define __torch_dispatch__, are refused.
        lambd: weight of the redundancy-reduction term, a number or a 0-d tensor; see below.
        scale: multiplies the loss; a number or a 0-d tensor.
        eps: added to the variance inside the square root, or to the root itself; see eps_added_to. With 0, a
            feature that does not vary makes the loss NaN.
        unbiased: divide the variance by N - 1 instead of N. C is divided by N in both cases.
        formulation: "correlation" (D x D), "gram" (N x N) or "auto", the cheaper one.
        backend: "cuda" (CUDA C++), "triton" (GPU), "cpu" (C++), "eager" (plain PyTorch) or "auto", the fastest
            that works here.
        process_group: the processes that the batch is spread over. A torch.distributed.ProcessGroup; "world", the
            default group at the time of the call; "auto", the default group where there is one, else this process
            alone; or None, this process alone, whatever else is running. If it is left out, it is None, with one
            warning in a process where the default group has several ranks. All ranks of the group have to call the
            loss equally often. A rank whose rows have run out calls it with (0, D) embeddings, because join() of
            DistributedDataParallel does not stand in for the loss's own collectives.
        gradient, statistics: whose gradient and whose statistics it is over a process_group; see below. Without
            one they change nothing.
        eps_added_to: "variance" or "std", the standard deviation. Over a process_group, "std" needs
            statistics="local".

    A tensor for lambd or scale is of a real dtype, on the CPU or on the embeddings' device. Its value is never
    read, so nothing waits for the GPU; for the same reason it is not checked. Ranks may have different values, and
    then have different losses. A tensor may require a gradient, which is that of its own rank's loss.
    torch.compile compiles once for all values of a tensor. For a number it compiles twice: for the first value,
    and once more when another comes. Each value of eps is compiled by itself, except with the eager backend:
    keep it fixed, for torch.compile gives up at the ninth. A CUDA graph takes the value that a tensor on the GPU
    has at each replay.

    Over W processes, rank r calls the loss with rows of its own, (n_r, D) with n_r >= 0, and N = sum n_r. The loss
    is that of the joined batch, and the same on every rank. All ranks have to take part in the forward, under
    no_grad too, and in the backward. Let z_r be the rows of rank r, and g_r the gradient that arrives at its loss.
    The gradient of its rows is

        gradient="whole"      dz_r = (sum_s g_s) dloss/dz_r        the gradient of the sum of the W losses
        gradient="divided"    dz_r = (sum_s g_s / W) dloss/dz_r

    DistributedDataParallel and FSDP average the gradients of the ranks. After that, parameters have with "whole"
    the gradient that one process with the joined batch would give them. With "divided" they have 1/W of it, as
    with the authors' code and solo-learn.

        statistics="global"   y is standardized over the joined batch, as by the authors' SyncBatchNorm
        statistics="local"    y is standardized over each rank's own rows, n_r >= 2, and C is the mean of the
                              ranks' y_a^T y_b / n_r, as with lightly and solo-learn. For 16-bit embeddings y is
                              float32, and is sent as float32

    Returns:
        The loss, a scalar: float64 for float64 embeddings, else float32. NaN or Inf in the embeddings gives NaN.

    Raises:
        TypeError: an argument has the wrong type or dtype.
        ValueError: shapes, devices or option values that the loss is not defined for, or that differ
            between ranks.
        RuntimeError: a backend was asked for by name and cannot run here; the message says why. Or a process_group
            was given, and torch.distributed is not initialized or this process is not in the group. Or the loss
            was to be differentiated twice or in forward mode, batched by torch.vmap, or traced by torch.jit.
        With a process_group, every rank raises the same error for what is wrong on one rank or differs between
        ranks, and no embeddings are sent. If a rank fails later, the others wait for it until their group's
        time-out.
    """
    for name in options:
        if name not in OPTIONS:  # or Python would speak of barlow_twins_terms
            raise TypeError(f"barlow_twins_loss() got an unexpected keyword argument {name!r}")
    return barlow_twins_terms(z_a, z_b, **options).loss


class BarlowTwinsLoss(nn.Module):
    """barlow_twins_loss as a module. It has no parameters and no buffers, and checks the options at construction.

    The options are attributes, too. They can be read, and set between two calls: criterion.lambd = 0.01. What is
    set is checked like an argument, and counts from the next call on. A tensor for lambd or scale is kept as the
    object that it is, and is neither a parameter nor a buffer: to() and state_dict() leave it out. Where it is a
    buffer of another module, to() of that module makes a new one, which has to be set here again.

    Raises:
        TypeError: an option has the wrong type. Or the class of a subclass has an attribute by an option's name.
        ValueError: an option has a value that the loss is not defined for.
        AttributeError: an attribute is set whose name is no option. Subclasses may have attributes of their own.
    """

    def __init__(
        self,
        lambd: float | Tensor = 0.0051,
        *,
        scale: float | Tensor = 1.0,
        eps: float = 1e-5,
        unbiased: bool = False,
        formulation: str = "auto",
        backend: str = "auto",
        process_group: dist.ProcessGroup | str | NotGiven | None = NOT_GIVEN,
        gradient: str = "whole",
        statistics: str = "global",
        eps_added_to: str = "variance",
    ) -> None:
        super().__init__()
        self._options = LossOptions(lambd, scale, eps, unbiased, formulation, backend, eps_added_to)
        self._distributed = DistributedOptions(process_group, gradient, statistics)
        check_together(self._options, self._distributed)

    lambd, scale, eps, unbiased, eps_added_to = Option(), Option(), Option(), Option(), Option()
    formulation, backend = Option(), Option()
    process_group, gradient, statistics = Option(), Option(), Option()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        refuse_hidden(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        option = getattr(type(self), name, None)
        if isinstance(option, Option):
            # Not nn.Module's, which would register a Parameter, nor object's, which Dynamo of torch 2.6 puts off.
            option.__set__(self, value)
            return
        # No option takes a callable: it is a method of some library's, as ptflops sets them on all modules.
        known = callable(value) or name.startswith(OTHERS_NAMES) or hasattr(self, name)
        if not known and type(self).__module__.startswith(f"{__package__}."):
            raise AttributeError(no_option(type(self), name))
        super().__setattr__(name, value)

    def forward(self, z_a: Tensor, z_b: Tensor) -> Tensor:  # (N, D), (N, D)
        """The loss of two views' embeddings, (N, D) each. Raises what barlow_twins_loss raises."""
        return self.terms(z_a, z_b).loss

    def terms(self, z_a: Tensor, z_b: Tensor) -> LossTerms:  # (N, D), (N, D)
        """The loss and its two terms, as barlow_twins_terms returns them. Raises what barlow_twins_loss raises."""
        return compute_terms(z_a, z_b, self._options, self._distributed)

    def __prepare_scriptable__(self) -> NoReturn:
        raise RuntimeError(
            "torch.jit.script cannot compile the Barlow Twins loss: script the model without it, or use "
            "torch.compile"
        )

    def extra_repr(self) -> str:
        """lambd, and what is not the default; of a preset by its project's names."""
        shown = self._options.changed() | self._distributed.changed()
        names = written_names(type(self))
        return ", ".join(
            f"{names[o]}={value if names[o] == o else repr(getattr(self, names[o]))}" for o, value in shown.items()
        )
