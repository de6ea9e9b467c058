"""The grid pointing game (Böhle et al., 2021): several images in one, and the map must find the right one."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import of_rows
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case, Companions
from seewhy.metrics.regions import relevance_mass
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores

Grid = tuple[Float[Tensor, "c gh gw"], Bool[Tensor, "gh gw"]]
"""Pictures as one, and the area of one of them."""


class GridPointingGame(
    Measure,
    name="grid_pointing_game",
    family="localization",
    better="higher",
    range=(0, 1),
    needs=("explainer", "companions"),
    reads="positive",
    explains="label",
    paper="bohle2021convolutional",
):
    r"""Grid pointing game: in a grid of images of different classes, the share of the map that lies on the right image.

    $$\mathrm{GPG} = \frac{\sum_{i \in C} \max(a_i, 0)}{\sum_i \max(a_i, 0)}$$

    Here $a$ is the map of the class explained for the grid, and $C$ the cell of the image whose class it is. The other
    cells hold images of other classes. No box is needed, since it is known where the image was put.

    Rewards: maps of their class alone. A map that is the same for every class scores the chance level, 1 over the number
    of cells, in the mean.

    Fooled by: a network that does not know its classes in a small image. Positive attribution on another class's image is
    wrong only if the network does not need it to tell the classes apart. The borders between images are edges that no
    photograph has.

    Defined: 0 for a map without positive values. The other images, and all places, depend on the image and the seed alone.

    Args:
        cells: along each side of the grid: 2 puts 4 images together, of 4 classes. The paper has 3.
        scale: "shrunk" fits the grid into the input size of the network, as a transformer needs it; "full" leaves every
            image as large as it is, as in the paper, and the grid is larger than what the network takes by default.

    Source: Böhle et al. (2021), section 4, "localisation metric". The paper
    scores every image of a grid. Here each image has a grid of its own, in which it alone is scored. The others are those of
    their class of which the network is most sure, among those that the evaluation has.
    """

    cells: Annotated[int, AtLeast(2), Doc("Images along each side of the grid.")] = 2
    scale: Annotated[
        Literal["shrunk", "full"], Doc('"shrunk" to the input size of the network, or "full": the grid is larger.')
    ] = "shrunk"

    def score(self, case: Case) -> Scores:
        explainer: Explainer = case.require("explainer", "grid_pointing_game")
        companions: Companions = case.require("companions", "grid_pointing_game")
        grids, regions = zip(*(self._grid(case, companions, i, seed) for i, seed in enumerate(case.seeds)), strict=True)
        images, classes = torch.stack(grids), case.explained
        batches = torch.arange(len(images), device=images.device).split(case.batch_size)
        maps = torch.cat([of_rows(explainer, i, len(images)).explain(images[i], classes[i]) for i in batches])
        return relevance_mass(maps, torch.stack(regions).to(maps.device)).to(case.attributions)

    def _grid(self, case: Case, companions: Companions, i: int, seed: int) -> Grid:
        """The grid of image i, and its cell."""
        generator = torch.Generator().manual_seed(seed)
        wanted, own = self.cells**2, int(case.explained[i])
        others = self._others(companions, own, wanted - 1, generator)
        place = int(torch.randint(wanted, (1,), generator=generator))
        pictures = [*companions.images[others.to(companions.images.device)].to(case.images)]
        pictures.insert(place, case.images[i])
        return assembled(torch.stack(pictures), self.cells, place, shrink=self.scale == "shrunk")

    def _others(self, companions: Companions, own: int, count: int, generator: torch.Generator) -> Int[Tensor, "m"]:
        """Places of ``count`` companions of different classes, none of which is ``own``."""
        seen = companions.classes.cpu()
        known = [c for c in seen.unique().tolist() if c != own]
        if len(known) < count:
            raise SeewhyError(
                f"grid_pointing_game: a grid of {self.cells} x {self.cells} needs images of {count + 1} classes, and the "
                f"network sees {len(known) + 1} in the data: give fewer cells, or more images"
            )
        chosen = [known[c] for c in torch.randperm(len(known), generator=generator)[:count].tolist()]
        places = [(seen == c).nonzero()[:, 0] for c in chosen]
        return torch.stack([p[int(torch.randint(len(p), (1,), generator=generator))] for p in places])


def assembled(pictures: Float[Tensor, "m c h w"], cells: int, place: int, shrink: bool) -> Grid:
    """``cells`` x ``cells`` pictures, row by row, as one, and the area of the picture at ``place``.

    A shrunk grid is as large as one picture: each is resampled, with antialiasing, to its share of the pixels.
    """
    h, w = pictures.shape[-2:]
    height, width = (h, w) if shrink else (h * cells, w * cells)
    grid = pictures.new_zeros(pictures.shape[1], height, width)
    area = torch.zeros(height, width, dtype=torch.bool, device=pictures.device)
    for i, picture in enumerate(pictures):
        row, column = divmod(i, cells)
        rows = slice(row * height // cells, (row + 1) * height // cells)
        columns = slice(column * width // cells, (column + 1) * width // cells)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        resized = interpolate(picture[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1) if shrink else picture
        grid[:, rows, columns] = resized
        area[rows, columns] = i == place
    return grid, area
