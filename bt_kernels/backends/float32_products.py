"""In what the backends for GPUs multiply float32: as torch's settings say (the table is in docs/design.md)."""

import warnings

import torch

from bt_kernels.once import first_time
from bt_kernels.torch_versions import constant_to_dynamo, general_float32_precision, matmul_float32_precision


def tf32(dtype: torch.dtype) -> bool:
    """Whether embeddings of that dtype are multiplied as tf32 at this moment: float32 is, where PyTorch's matmul
    has it so and torch.backends.fp32_precision is not "ieee".

    matmul's setting may be nobody's choice: torch.compile writes down as matmul's own what it had inherited, and
    torch.backends.cudnn.fp32_precision reaches it. What is compiled is compiled again when either changes.
    """
    if dtype != torch.float32:
        return False
    general, matmul = general_float32_precision(), matmul_float32_precision()
    if (general, matmul) in (("ieee", "tf32"), ("tf32", "ieee")):
        warn_of_settings(general, matmul)
        return False
    return matmul == "tf32"


@constant_to_dynamo
def warn_of_settings(general: str, matmul: str) -> None:
    if not first_time("float32 settings"):
        return
    message = (
        f"torch.backends.fp32_precision is {general!r} and torch.backends.cuda.matmul.fp32_precision {matmul!r}, "
        "which may be the doing of torch.compile or of cudnn's setting: the Barlow Twins loss multiplies float32 "
        "as 'ieee'. torch.backends.fp32_precision = torch.backends.cuda.matmul.fp32_precision = 'tf32', or "
        "'ieee', settles it"
    )
    warnings.warn(message, RuntimeWarning, stacklevel=2)
