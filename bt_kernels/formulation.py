"""Correlation (D x D) or Gram (N x N): the cost model behind formulation="auto".

Both compute the same loss and the same gradient (docs/mathematics.md). Floating-point operations of the matrix
products, forward and backward together:

    correlation   6 N D^2     C once, and two products with it for the two gradients
    gram          6 N^2 D     the upper triangles of K_a and K_b, and a product with each (8 N^2 D if not halved)

Everything else is O(N D) and the same in both, and no matrix is larger than one embedding: N^2 <= N D or
D^2 <= N D. So the smaller of N and D decides, and the cost is O(N D min(N, D)). At N = D the products cost the
same; correlation has one square matrix instead of two and no subtraction. Correlation asked for with N < D keeps
no C and computes it again in the backward, once for each view: 10 N D^2.

A single feature has no off-diagonal term. The correlation form has none by construction; the Gram form would have
the rounding of a difference of equal sums, and in the gradient of equal products. So D = 1 is never its case.
"""


def flops(formulation: str, n: int, d: int) -> int:
    """Floating-point operations of the matrix products, forward and backward, for (N, D) embeddings."""
    return 6 * n * d * (n if formulation == "gram" else d)


def choose_formulation(requested: str, n: int, d: int) -> str:
    """Resolves "auto" for (N, D) embeddings; any other request is returned as it is, unless D = 1."""
    if d == 1:
        return "correlation"
    if requested != "auto":
        return requested
    return "gram" if n < d else "correlation"
