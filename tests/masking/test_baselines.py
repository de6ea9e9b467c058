"""Each baseline is what its definition says, pixel by pixel; a blend and masked logits follow the equation."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import TINY, cnn
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.masking.baselines import Baseline, baseline_images, blend, masked_logits

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def removed(baseline: Baseline | float | Tensor, images: Tensor = IMAGES) -> Tensor:
    return baseline_images(baseline, TINY["cnn"](), images)


def test_constant_baselines() -> None:
    assert torch.equal(removed("black"), torch.zeros_like(IMAGES))
    assert torch.equal(removed("white"), torch.ones_like(IMAGES))
    assert torch.equal(removed(0.25), torch.full_like(IMAGES, 0.25))
    assert torch.equal(removed("mean_color"), MEAN.expand_as(IMAGES))


def test_darkest_is_the_lowest_normalized_value_of_each_image_in_every_channel() -> None:
    for image, found in zip(IMAGES, removed("darkest"), strict=True):
        lowest = min(float(v) for v in ((image - MEAN) / STD).flatten())
        torch.testing.assert_close(found, (lowest * STD + MEAN).expand_as(image))


def test_blur_is_a_gaussian_of_a_tenth_of_the_shorter_side() -> None:
    """On one bright pixel in the middle, written out; a constant image stays as it is."""
    image = torch.zeros(1, 1, 40, 50)
    image[0, 0, 20, 25] = 1
    found = removed("blur", image.expand(1, 3, -1, -1))
    bell = [exp(-(d**2) / (2 * 4.0**2)) for d in range(-12, 13)]
    for dy, dx in ((0, 0), (3, -2), (12, 5), (-7, 11)):
        expected = bell[dy + 12] * bell[dx + 12] / sum(bell) ** 2
        assert found[0, 1, 20 + dy, 25 + dx] == pytest.approx(expected, rel=1e-4)
    constant = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(removed("blur", constant), constant)


def test_blur_of_rows_and_then_columns_is_the_blur_of_torchvision() -> None:
    images = torch.rand(2, 3, 40, 31, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = gaussian_blur(images, [19, 19], [3.1, 3.1])
    torch.testing.assert_close(removed("blur", images), expected, rtol=0, atol=1e-12)


def test_blur_of_a_picture_of_one_pixel_has_a_border_to_mirror() -> None:
    image = torch.rand(1, 3, 1, 5)
    assert removed("blur", image).shape == image.shape


def test_rise_blur_is_nearly_flat_over_11_pixels_and_padded_in_normalized_space() -> None:
    """The kernel of RISE's code, written out: a Gaussian of sigma 5 on 11 points, mirrored at the kernel's own border."""
    point = np.zeros(11)
    point[5] = 1
    weights = np.exp(-(np.arange(-20, 21) ** 2) / (2 * 5.0**2))
    weights /= weights.sum()
    mirrored = np.concatenate([point[::-1], point[::-1], point, point[::-1], point[::-1]])
    kernel = np.array([(weights * mirrored[22 + i - 20 : 22 + i + 21]).sum() for i in range(11)])
    assert kernel.max() < 1.2 * kernel.min()
    normalized = ((IMAGES - MEAN) / STD).numpy()
    padded = np.pad(normalized, ((0, 0), (0, 0), (5, 5), (5, 5)))
    for y, x in ((0, 0), (8, 3), (15, 15)):
        window = padded[1, 2, y : y + 11, x : x + 11]
        expected = (window * np.outer(kernel, kernel)).sum() * float(STD[2]) + float(MEAN[2])
        assert removed("rise_blur")[1, 2, y, x] == pytest.approx(expected, abs=1e-4)


def test_noise_is_the_same_for_every_image_and_at_every_call() -> None:
    found = removed("noise")
    assert torch.equal(found[0], found[1])
    assert torch.equal(found, removed("noise"))
    assert 0 <= found.min() < 0.01
    assert 0.99 < found.max() <= 1
    assert torch.equal(removed("noise", IMAGES.double()), found.double()), "drawn in float32 for every type"


def test_a_tensor_is_broadcast_to_the_images() -> None:
    color, image = torch.tensor([0.1, 0.2, 0.3])[:, None, None], torch.rand(3, 16, 16)
    assert torch.equal(removed(color), color.expand_as(IMAGES))
    assert torch.equal(removed(image), image.expand_as(IMAGES))
    assert removed(image.double()).dtype == torch.float32


def test_a_tensor_that_was_made_in_inference_mode_can_be_part_of_a_graph() -> None:
    with torch.inference_mode():
        given = torch.rand(3, 1, 1)
    mask = torch.rand(2, 16, 16, requires_grad=True)
    blend(IMAGES, mask, removed(given)).sum().backward()
    assert mask.grad is not None


def test_an_unknown_baseline_is_one_line() -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=r"^unknown baseline 'grey': use black, white, .* or a tensor$"):
        removed("grey")  # type: ignore[arg-type]


def test_a_gray_network_has_a_gray_baseline() -> None:
    module = cnn()
    module[0] = nn.Conv2d(1, 6, 3, padding=1)  # type: ignore[index]
    gray = Classifier(module.eval(), mean=(0.5,), std=(0.25,), input_size=(16, 16))
    for baseline in ("mean_color", "blur", "rise_blur", "darkest", "noise"):
        assert baseline_images(baseline, gray, IMAGES[:, :1]).shape == (2, 1, 16, 16)  # type: ignore[arg-type]


def test_a_blend_is_the_image_where_the_mask_is_1_and_removed_where_it_is_0() -> None:
    masks = torch.rand(2, 16, 16)
    masks[0, 0, 0], masks[0, 0, 1] = 1, 0
    gone = torch.full_like(IMAGES, 0.75)
    found = blend(IMAGES, masks, gone)
    torch.testing.assert_close(found, masks[:, None] * IMAGES + (1 - masks[:, None]) * gone)
    torch.testing.assert_close(found[0, :, 0, 0], IMAGES[0, :, 0, 0])
    assert torch.equal(found[0, :, 0, 1], gone[0, :, 0, 1])


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_masked_logits_are_those_of_one_masked_image_after_another(batch_size: int) -> None:
    classifier = replace(TINY["cnn"]())
    masks, gone = torch.rand(2, 5, 16, 16), torch.zeros_like(IMAGES)
    with classifier.running():
        found = masked_logits(classifier, IMAGES, masks, gone, batch_size)
        assert found.shape == (2, 5, 5)
        for i in range(2):
            for j in range(5):
                expected = classifier.logits((masks[i, j] * IMAGES[i])[None])[0]
                torch.testing.assert_close(found[i, j], expected)
