import torch

from bt_kernels.trainer.augmentation.digits import AugmentationStrength, TwoViews

NONE = AugmentationStrength(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_views_keep_shape_dtype_and_range(generator):
    images = torch.rand(32, 1, 16, 16, generator=generator)
    original = images.clone()
    for view in TwoViews(generator)(images):
        assert view.shape == images.shape and view.dtype == images.dtype
        assert view.min() >= 0 and view.max() <= 1 and view.isfinite().all()
    assert torch.equal(images, original)


def test_every_image_and_every_view_has_its_own_parameters(generator):
    image = torch.rand(1, 1, 16, 16, generator=generator)
    views = torch.cat(TwoViews(generator)(image.expand(16, -1, -1, -1))).flatten(1)
    distance = torch.cdist(views, views) + torch.eye(32) * 1e3
    assert distance.min() > 0.5


def test_seed_decides(generator):
    images = torch.rand(8, 1, 16, 16, generator=generator)

    def views(seed):
        return torch.cat(TwoViews(torch.Generator().manual_seed(seed))(images))

    assert torch.equal(views(1), views(1))
    assert not torch.equal(views(1), views(2))


def test_global_random_state_is_not_touched(generator):
    before = torch.get_rng_state()
    TwoViews(generator)(torch.rand(4, 1, 8, 8, generator=generator))
    assert torch.equal(torch.get_rng_state(), before)


def test_no_strength_is_the_identity(generator):
    images = torch.rand(4, 1, 16, 16, generator=generator)
    torch.testing.assert_close(TwoViews(generator, NONE).augment(images), images, rtol=0, atol=1e-5)


def test_shift_moves_by_at_most_its_share_of_the_side(generator):
    image = torch.zeros(64, 1, 20, 20)
    image[:, :, 10, 10] = 1
    strength = AugmentationStrength(0, 0, 0, 0, 0.2, 0, 0, 0, 0, 0)
    moved = TwoViews(generator, strength).augment(image)
    mass = moved.sum(dim=(1, 2, 3))
    rows = (moved.sum(dim=(1, 3)) * torch.arange(20)).sum(1) / mass - 10
    assert rows.abs().max() <= 4.01
    assert rows.abs().max() > 2 and rows.std() > 1


def test_cutout_blanks_a_rectangle_of_limited_area(generator):
    strength = AugmentationStrength(0, 0, 0, 0, 0, 0, 0, 0, 0.4, 0)
    blank = TwoViews(generator, strength).augment(torch.ones(200, 1, 20, 20)) == 0
    share = blank.float().mean(dim=(1, 2, 3))
    assert 0.05 < share.max() <= 0.4**2 + 0.05
    assert share.std() > 0.01
