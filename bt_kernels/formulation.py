"""Correlation (D x D) or Gram (N x N): the cost model behind formulation="auto".

Both compute the same loss and the same gradient (docs/mathematics.md). Floating-point operations of the matrix
products, forward and backward together:

    correlation   6 N D^2     C once, and two products with it for the two gradients
    gram          6 N^2 D     the upper triangles of K_a and K_b, and one product with each (8 N^2 D without symmetry)

and what has to be kept for the backward is D^2 numbers or 2 N^2. Everything else is O(N D) and the same in both. So
the smaller of N and D decides, the cost is O(N D min(N, D)), and neither matrix is larger than one embedding. At
N = D the products cost the same and correlation keeps half as much.
"""


def flops(formulation: str, n: int, d: int) -> int:
    """Floating-point operations of the matrix products, forward and backward, for (N, D) embeddings."""
    return 6 * n * d * (n if formulation == "gram" else d)


def choose_formulation(requested: str, n: int, d: int) -> str:
    """Resolves "auto" for (N, D) embeddings; any other request is returned as it is."""
    if requested != "auto":
        return requested
    return "gram" if flops("gram", n, d) < flops("correlation", n, d) else "correlation"
