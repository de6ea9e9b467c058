"""Input times gradient (Shrikumar et al., 2017)."""

from collections.abc import Iterator

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradients import Point, channel_sum
from seewhy.types import Images


class InputXGradient(
    GradientSum, name="input_x_gradient", family="gradient", paper="shrikumar2017learning", merge=channel_sum
):
    """Pixel value times gradient, summed over the color channels. Signed. Black pixels get 0 whatever they do."""

    def points(self, images: Images) -> Iterator[Point]:
        yield Point(images, images)
