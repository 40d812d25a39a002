"""The C++ and Triton ops under torch.compile, where a float may be symbolic: lambd by a schedule, say.

A float argument of an op is a constant of the graph: each value would be a graph of its own, until torch.compile
gives up at the ninth. A float that varies is kept as a tensor, as long as nothing asks for the number. So each op
has two companions in a namespace of their own:

    X              Scalars in the floats' place, symbolic or not; takes itself apart into the op or X_of_tensors
    X_of_tensors   () float64 on the CPU in their place; opaque, it reads them when it runs and calls the op
"""

import re

import torch
from torch import Tensor
from torch._ops import OpOverload

NAMES = ("gram_forward", "gram_backward", "correlation_forward", "correlation_backward")


def register(namespace: str) -> None:
    """Makes the companions of the ops of that namespace, which must be there."""
    if hasattr(getattr(torch.ops, companions(namespace)), NAMES[-1]):
        return
    library = torch.library.Library(companions(namespace), "DEF")
    torch.library._keep_alive.append(library)  # with a Library go its ops
    for name in NAMES:
        _register(library, name, getattr(getattr(torch.ops, namespace), name).default)


def _register(library: torch.library.Library, name: str, op: OpOverload) -> None:
    floats = [i for i, argument in enumerate(op._schema.arguments) if str(argument.type) == "float"]
    signature = str(op._schema).partition("(")[2]

    def with_floats(values, change) -> list:
        return [change(value) if i in floats else value for i, value in enumerate(values)]

    def traced(*values):
        if not any(isinstance(values[i], torch.SymFloat) for i in floats):
            return op(*values)
        # Of a product with a tensor the compiler sees that it does not need the number.
        one = torch.ones((), dtype=torch.float64, device="cpu")
        return getattr(getattr(torch.ops, library.ns), of_tensors)(*with_floats(values, one.mul))

    library.define(f"{name}({re.sub('float ', 'Scalar ', signature)}")
    library.impl(name, traced, "CompositeImplicitAutograd")

    of_tensors = f"{name}_of_tensors"
    library.define(f"{of_tensors}({re.sub('float ', 'Tensor ', signature)}")
    library.impl(of_tensors, lambda *values: op(*with_floats(values, Tensor.item)), "CompositeExplicitAutograd")
    torch.library.register_fake(
        f"{library.ns}::{of_tensors}", lambda *values: op(*with_floats(values, lambda _: 0.0)), lib=library
    )


def companions(namespace: str) -> str:
    return f"{namespace}_traced"


def ops_of(namespace: str) -> torch._ops._OpNamespace:
    """Where to call the ops of that namespace: there or, under torch.compile, their companions.

    Not under torch.export, whose programs would need the companions where they are loaded.
    """
    compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return getattr(torch.ops, companions(namespace) if compiled else namespace)
