"""The instantiations that csrc/cuda has for each of its files, and what is known of each before it is compiled.

A tile that a family in csrc/cuda gains or loses is a line here: test_every_kernel_is_known compares.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS_FOLDER = ROOT / "csrc" / "cuda"
SOURCES = sorted(str(path.relative_to(KERNELS_FOLDER)) for path in KERNELS_FOLDER.rglob("*.cu"))
ARCHITECTURES = ("sm_80", "sm_90a", "sm_100a")

ELEMENTS = {"ieee": "float", "tf32": "float", "bfloat16": "__nv_bfloat16", "float16": "__half"}
MULTIPLY = {
    "ieee": "IeeeMultiply",
    "tf32": "Tf32Multiply",
    "bfloat16": "NarrowMultiply<__nv_bfloat16>",
    "float16": "NarrowMultiply<__half>",
}
PRODUCTS = (
    "standardize_gram", "gram_tiles", "gram_backward", "gram_product", "correlation_tiles", "correlation_backward",
)  # fmt: skip
# With a template argument for tf32.
ROUND_THEMSELVES = ("standardize_gram", "gram_combine", "correlation_tiles", "correlation_combine")
BOTH, PARTIAL, TOTAL = FORWARD = range(3)  # Forward, a template argument of these
COMBINE = ("gram_combine", "correlation_combine")


def multiply(operands: str, source: str) -> str:
    """sm90/'s have names of their own."""
    return f"OnHopper<{MULTIPLY[operands]}>" if source.startswith("launches/sm90/") else MULTIPLY[operands]


@dataclass(frozen=True)
class Tile:
    """A product's: HopperProduct or PortableProduct, with the operands' majors."""

    a: str
    b: str
    columns: int = 128
    hopper: bool = False
    stages: int = 0
    blocks: int = 1  # on a multiprocessor

    def product(self, operands: str, source: str) -> str:
        """As the demangler writes it, without namespaces."""
        a, b = (f"(Major){int(major == 'mn')}" for major in (self.a, self.b))
        if self.hopper:
            return f"HopperProduct<{ELEMENTS[operands]}, {a}, {b}, {self.columns}, {self.stages}, {self.blocks}>"
        return f"PortableProduct<{multiply(operands, source)}, {a}, {b}>"


def narrow(a: str, b: str) -> Tile:
    return Tile(a, b, 128, hopper=True, stages=3, blocks=2)


def wide(a: str, b: str) -> Tile:
    return Tile(a, b, 256, hopper=True, stages=4)


FUSED = Tile("k", "k")
PORTABLE = {
    "standardize_gram": [FUSED],
    "gram_tiles": [Tile("k", "k")],
    "gram_combine": [Tile("k", "k")],
    "gram_backward": [Tile("mn", "k")],
    "gram_product": [Tile("mn", "k")],
    "correlation_tiles": [Tile("mn", "mn")],
    "correlation_combine": [Tile("mn", "mn")],
    "correlation_backward": [Tile("k", "k"), Tile("mn", "k")],
}
HOPPER = {
    "standardize_gram": [FUSED],
    "gram_tiles": [narrow("k", "k"), wide("k", "k")],
    "gram_combine": [FUSED, narrow("k", "k"), wide("k", "k")],
    "gram_backward": [narrow("mn", "k"), wide("mn", "k")],
    "gram_product": [wide("mn", "k")],
    "correlation_tiles": [wide("mn", "mn")],
    "correlation_combine": [wide("mn", "mn")],
    "correlation_backward": [wide("k", "k"), wide("mn", "k")],
}
# C's product has both operands along the batch, which wgmma does not take in tf32. A's part of the registers
# leaves room for one block of the narrow backward.
HOPPER_TF32 = HOPPER | {
    "gram_backward": [Tile("mn", "k", 128, hopper=True, stages=4), wide("mn", "k")],
    "correlation_tiles": [Tile("mn", "mn")],
    "correlation_combine": [Tile("mn", "mn")],
}
FAMILIES = {
    **{f"launches/portable/{operands}.cu": (operands, PORTABLE) for operands in ELEMENTS},
    "launches/sm90/bfloat16.cu": ("bfloat16", HOPPER),
    "launches/sm90/float16.cu": ("float16", HOPPER),
    "launches/sm90/tf32.cu": ("tf32", HOPPER_TF32),
}


@dataclass(frozen=True)
class Kernel:
    source: str  # below csrc/cuda
    arch: str
    name: str
    operands: str
    arguments: tuple[str, ...]  # of the template
    variant: str  # what tells it from the source's others of that name, for people
    blocks: int  # on a multiprocessor, at the least
    tile: Tile | None = None
    forward: int = BOTH

    @property
    def instance(self) -> str:
        return f"{self.name}_kernel<{', '.join(self.arguments)}>"

    @property
    def is_product(self) -> bool:
        return self.name in PRODUCTS

    @property
    def itemsize(self) -> int:
        return 4 if ELEMENTS[self.operands] == "float" else 2

    @property
    def hopper(self) -> bool:
        return self.tile is not None and self.tile.hopper

    def __str__(self) -> str:
        return "-".join([self.arch, self.source.removesuffix(".cu"), self.name, self.variant])


def of_family(source: str, arch: str) -> list[Kernel]:
    operands, kernels = FAMILIES[source]
    found = []
    for name, tile, forward in of_tiles(kernels):
        arguments = [tile.product(operands, source)]
        arguments += [multiply(operands, source)] * (name == "standardize_gram")
        arguments += [flag(operands == "tf32")] * (name in ROUND_THEMSELVES)
        arguments += [f"(Forward){forward}"] * (name in COMBINE)
        variant = f"{tile.a}-{tile.b}" + f"-{tile.columns}" * tile.hopper + ("", "-partial", "-total")[forward]
        blocks = tile.blocks if name in PRODUCTS else 1
        if name == "correlation_combine":
            blocks = 3 if tile.hopper else 2
        if name == "gram_combine":
            blocks = 5 if tile.hopper and ELEMENTS[operands] != "float" else 4
        found.append(Kernel(source, arch, name, operands, tuple(arguments), variant, blocks, tile, forward))
    return found


def of_tiles(kernels: dict[str, list[Tile]]) -> Iterator[tuple[str, Tile, int]]:
    for name, tiles in kernels.items():
        for tile, forward in product(tiles, FORWARD if name in COMBINE else (BOTH,)):
            # What begins with sums needs no tile of a product: the Gram form's takes the narrow one for all N.
            if (name, forward) != ("gram_combine", TOTAL) or tile == kernels["gram_tiles"][0]:
                yield name, tile, forward


def standardize(source: str, arch: str) -> list[Kernel]:
    return [
        Kernel(
            source,
            arch,
            "standardize",
            operands,
            (element, flag(operands == "tf32"), f"(Moments){index}"),
            f"{operands}-{moments}",
            blocks=2 if moments == "chunks" else 4,
        )
        for operands, element in ELEMENTS.items()
        for index, moments in enumerate(("resident", "chunks", "given"))
    ]


def gram_apply(source: str, arch: str) -> list[Kernel]:
    return [
        Kernel(source, arch, "gram_apply", operands, (element,), element.strip("_"), blocks=3)
        for operands, element in ELEMENTS.items()
        if operands != "tf32"  # as ieee
    ]


def correlation_diagonal(source: str, arch: str) -> list[Kernel]:
    """Of float32 sums, whatever the operands."""
    return [Kernel(source, arch, "correlation_diagonal", "ieee", ("256",), "float", blocks=1)]


def flag(value: bool) -> str:
    return str(value).lower()


OF_SOURCE = {
    "standardize/standardize.cu": standardize,
    "gram/gram_apply.cu": gram_apply,
    "host/correlation.cu": correlation_diagonal,
} | dict.fromkeys(FAMILIES, of_family)


def architectures(source: str) -> tuple[str, ...]:
    """Of sm90/ and its namesakes in portable/ Hopper runs the first."""
    if source.startswith("launches/sm90/"):
        return ("sm_90a",)
    return tuple(
        arch for arch in ARCHITECTURES if arch != "sm_90a" or source.replace("portable", "sm90") not in FAMILIES
    )


def marks_of(arch: str) -> tuple[pytest.MarkDecorator, ...]:
    """Of the tests: one architecture, the one with kernels of its own, is enough for a short run."""
    return () if arch == "sm_90a" else (pytest.mark.long,)


def of_source(source: str, arch: str) -> list[Kernel]:
    """None of a source that has the host's side alone."""
    return OF_SOURCE[source](source, arch) if source in OF_SOURCE else []


KERNELS = [kernel for source in SOURCES for arch in architectures(source) for kernel in of_source(source, arch)]
