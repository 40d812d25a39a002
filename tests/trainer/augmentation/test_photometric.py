import pytest
import torch
from torch.testing import assert_close

from bt_kernels.trainer.augmentation import photometric
from bt_kernels.trainer.augmentation.photometric import Photometry, draw_photometry
from bt_kernels.trainer.config.parts import AugmentationOptions
from bt_kernels.trainer.torchvision_import import import_torchvision

import_torchvision()
from torchvision.transforms.v2 import functional  # noqa: E402

JITTER = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def one_by_one(images, photometry):
    """The same parameters through torchvision's functions, which take one image each."""
    side = min(23, 2 * images.shape[-1] - 1)
    results = []
    for row, image in enumerate(images):
        if photometry.jitter[row]:
            for number in photometry.order[row].tolist():
                image = JITTER[number](image, float(photometry.factors[row, number]))
        if photometry.grey[row]:
            image = functional.rgb_to_grayscale(image, num_output_channels=3)
        if photometry.blur[row]:
            image = functional.gaussian_blur(image, [side, side], [float(photometry.sigma[row])] * 2)
        if photometry.solarize[row]:
            image = functional.solarize(image, 128 / 255)
        results.append(image)
    return torch.stack(results)


def batch(generator, images, height, width, dtype):
    return torch.randint(256, (images, 3, height, width), generator=generator).to(dtype) / 255


@pytest.mark.parametrize("height, width", [(8, 8), (24, 24), (40, 31)])
def test_equal_to_torchvision_image_by_image(generator, height, width):
    if height != width:
        options = AugmentationOptions(blur_probability=(0.0, 0.0), solarize_probability=(0.5, 0.5))
    else:
        options = AugmentationOptions(blur_probability=(0.5, 0.5), solarize_probability=(0.5, 0.5))
    photometry = draw_photometry(options, 0, 64, (0,))
    images = batch(generator, 64, height, width, torch.float64)
    expected = one_by_one(images, photometry)
    # torchvision turns hues in float32, whatever the images' dtype
    eps = torch.finfo(torch.float32).eps
    assert_close(photometry(images), expected, rtol=0, atol=16 * eps)
    assert_close(photometry(images.float()).double(), expected, rtol=0, atol=64 * eps)


@pytest.mark.parametrize("number", range(3))
def test_a_single_change_is_exact_in_float64(generator, number):
    images = batch(generator, 8, 9, 9, torch.float64)
    factors = torch.rand(8, generator=generator, dtype=torch.float64) + 0.5
    ours = photometric._JITTER[number](images, factors.view(-1, 1, 1, 1))
    theirs = torch.stack(
        [JITTER[number](image, float(factor)) for image, factor in zip(images, factors, strict=True)]
    )
    assert_close(ours, theirs, rtol=0, atol=1e-14)


def test_hues_of_grey_and_saturated_colours_turn_as_torchvisions():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).view(27, 3, 1, 1)
    for turn in (-0.5, -0.2, 0.0, 1 / 3, 0.5):
        ours = photometric.adjust_hue(corners, torch.full((27, 1, 1, 1), turn))
        assert_close(ours, functional.adjust_hue(corners, turn), rtol=0, atol=8 * torch.finfo(torch.float32).eps)


def test_the_order_of_the_jitter_is_drawn_and_matters(generator):
    photometry = draw_photometry(AugmentationOptions(), 0, 2000, (0,))
    orders, counts = photometry.order.unique(dim=0, return_counts=True)
    assert len(orders) == 24
    assert (counts - 2000 / 24).abs().max() < 5 * (2000 / 24) ** 0.5
    images = batch(generator, 2, 8, 8, torch.float32)
    images[1] = images[0]
    same = draw_photometry(AugmentationOptions(), 0, 1, (0,))
    values = {name: getattr(same, name).expand(2, *getattr(same, name).shape[1:]).clone() for name in vars(same)}
    values |= {"order": torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]), "jitter": torch.tensor([True, True])}
    a, b = Photometry(**values)(images)
    assert (a - b).abs().max() > 1e-3


def test_parameters_follow_the_options():
    options = AugmentationOptions()
    number = 4000
    for view in range(2):
        photometry = draw_photometry(options, view, number, (1,))
        for chosen, probability in (
            (photometry.jitter, 0.8),
            (photometry.grey, 0.2),
            (photometry.blur, (1.0, 0.1)[view]),
            (photometry.solarize, (0.0, 0.2)[view]),
        ):
            tolerance = 5 * (number * probability * (1 - probability)) ** 0.5
            assert abs(int(chosen.sum()) - number * probability) <= tolerance
        assert 0.1 <= photometry.sigma.min() < 0.11 and 1.99 < photometry.sigma.max() <= 2
        for column, (low, high) in enumerate([(0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)]):
            factor = photometry.factors[:, column]
            assert low <= factor.min() < low + 0.01 and high - 0.01 < factor.max() <= high


def test_key_and_view_decide_about_the_parameters():
    def draw(view, *key):
        return draw_photometry(AugmentationOptions(), view, 8, key).factors

    before = torch.get_rng_state()
    assert torch.equal(draw(0, 1, 2), draw(0, 1, 2))
    assert not torch.equal(draw(0, 1, 2), draw(1, 1, 2))
    assert not torch.equal(draw(0, 1, 2), draw(0, 1, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_rows_of_a_batch_are_those_of_the_whole_batch(generator):
    images = batch(generator, 8, 12, 12, torch.float32)
    photometry = draw_photometry(AugmentationOptions(), 0, 8, (0,))
    before = images.clone()
    whole = photometry(images)
    assert torch.equal(images, before)
    part = photometry.rows(slice(3, 6))(images[3:6])
    assert_close(part, whole[3:6], rtol=0, atol=4 * torch.finfo(torch.float32).eps)
    assert whole.min() >= 0 and whole.max() <= 1
