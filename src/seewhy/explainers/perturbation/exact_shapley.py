"""The Shapley value (Shapley, 1953), by its definition."""

from seewhy.explainers.options import PlayerSize
from seewhy.explainers.perturbation.player_maps import ShapleyMaps
from seewhy.masking.shapley import SetFunction, ShapleyValues, exact_values


class ExactShapley(ShapleyMaps, name="exact_shapley", family="perturbation", paper="shapley1953value"):
    """Shapley values of at most 16 players, from all 2^p sets of players. Signed.

    The mean gain of the score by a player, over all orders in which the players can come. The values sum to v(all) -
    v(none); a pixel shows its player's value. It is a reference for every method that estimates these values. Several
    classes come for the passes of one. With 10 players the network sees 1,024 masked images, with 16 it sees 65,536.

    Args:
        size: about so many superpixels, or the side of a patch. SeewhyError where more than 16 players come of it.
    """

    size: PlayerSize = 10

    def shapley(self, v: SetFunction, p: int) -> ShapleyValues:
        return exact_values(v, p)
