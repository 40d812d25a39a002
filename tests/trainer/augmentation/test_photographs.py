import pytest
import torch
from PIL import ImageFilter, ImageOps

from bt_kernels.trainer.augmentation import photographs
from bt_kernels.trainer.augmentation.photographs import LabelledView, PhotographViews, normalize
from bt_kernels.trainer.augmentation.seeds import seeded
from bt_kernels.trainer.config.parts import AugmentationOptions
from bt_kernels.trainer.torchvision_import import import_torchvision
from tests.support.trainer.image_data import picture

import_torchvision()
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image  # noqa: E402

NOTHING = {
    "jitter_probability": 0.0,
    "greyscale_probability": 0.0,
    "blur_probability": (0.0, 0.0),
    "solarize_probability": (0.0, 0.0),
}


def test_key_and_view_decide():
    draw = PhotographViews(AugmentationOptions(), 12)
    a, b = draw(picture(0), (3, 0, 7))
    assert a.shape == b.shape == (3, 12, 12) and a.dtype == b.dtype == torch.uint8
    assert not torch.equal(a, b)
    again = PhotographViews(AugmentationOptions(), 12)(picture(0), (3, 0, 7))
    assert torch.equal(a, again[0]) and torch.equal(b, again[1])
    for key in ((4, 0, 7), (3, 1, 7), (3, 0, 8)):
        other = draw(picture(0), key)
        assert not torch.equal(a, other[0]) and not torch.equal(b, other[1])


def test_random_state_outside_neither_matters_nor_changes():
    draw = PhotographViews(AugmentationOptions(), 12)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(picture(0), (0, 0, 0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(torch.stack(draw(picture(0), (0, 0, 0))), torch.stack(first))


def test_random_state_comes_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_each_view_is_greyed_then_blurred_then_solarized_as_pillow_does_it(monkeypatch):
    monkeypatch.setattr(photographs.PillowBlur, "make_params", lambda self, inputs: {"sigma": 0.7})
    options = AugmentationOptions(
        jitter_probability=0.0,
        greyscale_probability=1.0,
        blur_probability=(1.0, 0.0),
        solarize_probability=(0.0, 1.0),
    )
    for number in range(5):
        crops = PhotographViews(AugmentationOptions(**NOTHING), 12)(picture(number), (number,))
        grey_a, grey_b = (to_pil_image(crop).convert("L").convert("RGB") for crop in crops)
        a, b = PhotographViews(options, 12)(picture(number), (number,))
        assert torch.equal(a, pil_to_tensor(grey_a.filter(ImageFilter.GaussianBlur(0.7))))
        assert torch.equal(b, pil_to_tensor(ImageOps.solarize(grey_b, 128)))


def test_blur_comes_before_solarization(monkeypatch):
    monkeypatch.setattr(photographs.PillowBlur, "make_params", lambda self, inputs: {"sigma": 0.7})
    both = AugmentationOptions(**{**NOTHING, "blur_probability": (1.0, 0.0), "solarize_probability": (1.0, 0.0)})
    crop = PhotographViews(AugmentationOptions(**NOTHING), 12)(picture(1), (1,))[0]
    expected = ImageOps.solarize(to_pil_image(crop).filter(ImageFilter.GaussianBlur(0.7)), 128)
    assert torch.equal(PhotographViews(both, 12)(picture(1), (1,))[0], pil_to_tensor(expected))


def test_the_views_differ_in_how_often_they_are_solarized():
    draws = 400
    plain = PhotographViews(AugmentationOptions(**NOTHING), 8)
    solarizing = PhotographViews(AugmentationOptions(**{**NOTHING, "solarize_probability": (0.0, 0.2)}), 8)
    image = picture(1)
    changed = [0, 0]
    for number in range(draws):
        for view, (before, after) in enumerate(
            zip(plain(image, (number,)), solarizing(image, (number,)), strict=True)
        ):
            changed[view] += not torch.equal(before, after)
    assert changed[0] == 0
    assert abs(changed[1] - 0.2 * draws) < 4 * (draws * 0.2 * 0.8) ** 0.5


def test_crops_keep_to_the_shares_of_the_area():
    options = AugmentationOptions(**{**NOTHING, "flip_probability": 0.0, "crop_scale": (0.25, 0.25)})
    ramp = torch.arange(64, dtype=torch.uint8).mul(4).expand(3, 64, 64)
    for number in range(20):
        view, _ = PhotographViews(options, 32)(to_pil_image(ramp), (number,))
        width = (int(view.max()) - int(view.min())) / 4 * 32 / 31
        assert 32 * (3 / 4) ** 0.5 - 2 < width < 32 * (4 / 3) ** 0.5 + 2


def test_flips_are_as_frequent_as_asked():
    ramp = to_pil_image(torch.arange(32, dtype=torch.uint8).mul(8).expand(3, 32, 32))
    for probability in (0.0, 1.0):
        draw = PhotographViews(AugmentationOptions(**{**NOTHING, "flip_probability": probability}), 8)
        for number in range(9):
            row = draw(ramp, (number,))[0][0, 0]
            assert (row[0] > row[-1]) == (probability == 1)


def test_on_the_device_the_loader_only_crops_and_flips():
    plain = PhotographViews(AugmentationOptions(**NOTHING), 12)
    device = PhotographViews(AugmentationOptions(augment_on="device"), 12)
    assert torch.equal(torch.stack(plain(picture(2), (5,))), torch.stack(device(picture(2), (5,))))


def test_the_evaluation_resizes_and_crops_the_centre():
    square = picture(0, side=64).resize((64, 64))
    whole = LabelledView(16, 1.0)(square, None)
    centre = LabelledView(16, 256 / 224)(square, None)
    assert whole.shape == centre.shape == (3, 16, 16)
    assert torch.equal(LabelledView(18, 1.0)(square, None)[:, 1:17, 1:17], centre)
    assert not torch.equal(LabelledView(16, 1.0)(square, (0, 0, 1)), LabelledView(16, 1.0)(square, (0, 1, 1)))


def test_normalized_with_imagenets_statistics():
    means = torch.tensor(photographs.IMAGENET_MEAN).view(1, 3, 1, 1)
    assert torch.equal(normalize(means.expand(2, 3, 4, 4)), torch.zeros(2, 3, 4, 4))
    ones = normalize(torch.ones(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(ones, torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
