import pytest
import torch
from torch import nn

from bt_kernels.trainer.model.convolution import MatmulConv2d, PooledShortcut

GEOMETRIES = [  # kernel, stride, padding, height, width, bias
    (1, 1, 0, 4, 4, False),
    (1, 2, 0, 5, 4, True),
    (3, 1, 1, 1, 1, False),
    (3, 2, 1, 1, 1, True),
    (3, 1, 1, 2, 2, True),
    (3, 2, 1, 2, 2, False),
    (3, 1, 1, 1, 2, False),
    (3, 1, 1, 5, 5, False),
    (7, 2, 3, 8, 8, False),
]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "padding", "height", "width", "bias"), GEOMETRIES)
def test_same_numbers_as_conv2d(kernel, stride, padding, height, width, bias, memory_format):
    torch.manual_seed(0)
    expected = nn.Conv2d(6, 10, kernel, stride, padding, bias=bias).double().to(memory_format=memory_format)
    actual = MatmulConv2d.from_conv(expected)
    assert all(a is b for a, b in zip(actual.parameters(), expected.parameters(), strict=True))
    results = []
    for convolution in (expected, actual):
        image = torch.randn(3, 6, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        image = image.to(memory_format=memory_format).requires_grad_()
        convolution.zero_grad()
        output = convolution(image)
        output.sin().sum().backward()
        results.append([output.detach(), image.grad, *(p.grad.clone() for p in convolution.parameters())])
    for reference, value in zip(*results, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("height", [1, 2, 3, 4])
def test_pooled_shortcut_averages_every_pixel_of_its_window(height):
    convolution = nn.Conv2d(3, 5, 1, stride=2, bias=False).double()
    shortcut = PooledShortcut.from_conv(convolution)
    assert list(shortcut.state_dict()) == ["weight"]
    image = torch.randn(2, 3, height, height, dtype=torch.float64)
    output = shortcut(image)
    assert output.shape == convolution(image).shape
    corner = torch.einsum("oc,nc->no", convolution.weight[:, :, 0, 0], image[:, :, :2, :2].mean(dim=(2, 3)))
    torch.testing.assert_close(output[:, :, 0, 0], corner)
