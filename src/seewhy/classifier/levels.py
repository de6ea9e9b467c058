"""The feature levels of a network: what a decoder reads, from fine to coarse. They are chosen from the survey's stages."""

from dataclasses import dataclass
from math import ceil, log2

from seewhy.classifier.stages import Stage, Survey
from seewhy.errors import SeewhyError

LEVELS_OF_ONE_SIZE = 4
"""A network with cells of one size, such as a vision transformer, has so many levels."""


@dataclass(frozen=True)
class Level:
    """A layer whose features a decoder reads.

    name      of the layer, as in ``module.named_modules()``
    channels  of its features
    grid      rows and columns of its features, in a picture of the classifier's input size
    stride    pixels of a cell, from top to bottom
    """

    name: str
    channels: int
    grid: tuple[int, int]
    stride: int


def find_levels(survey: Survey, kind: str) -> tuple[Level, ...]:
    """The levels of a network, from fine to coarse: of each size of cells the last stage, up to the feature layer.

    Sizes differ if they are nearest to different powers of two: layers without padding make 61 x 61 cells of 63 x 63, and
    that is one level. A level ends before the next coarser one does, and the feature layer is the last. A network with cells
    of one size has four levels, evenly spaced: blocks, if it has as many. ``kind`` names the network in the SeewhyError for
    one without stages.
    """
    if (layer := survey.layer()) is None:
        raise SeewhyError(f"no layer of {kind} has a grid that its output depends on: a decoder has nothing to read")
    ended = survey.trials.ended
    stages = [stage for stage in survey.stages if ended[stage.name] <= ended[layer]]
    levels = stages[-1:]
    for size in sorted({_size(stage) for stage in stages if _size(stage) < _size(levels[0])}, reverse=True):
        of_size = [s for s in stages if _size(s) == size and ended[s.name] < ended[levels[0].name]]
        if of_size:
            levels.insert(0, max(of_size, key=lambda s: (-_inside_reductions(s, survey, stages), ended[s.name])))
    if len(levels) == 1:
        levels = _spaced([stage for stage in stages if _size(stage) == _size(levels[0])])
    height = survey.trials.size[0]
    return tuple(Level(s.name, s.channels, s.reading.grid, round(height / s.reading.grid[0])) for s in levels)


def _size(stage: Stage) -> int:
    """The size of a stage's cells in pixels, as the nearest power of two."""
    (h, w), (gh, gw) = stage.reading.size, stage.reading.grid
    return round(log2(h * w / (gh * gw)) / 2)


def _inside_reductions(stage: Stage, survey: Survey, stages: list[Stage]) -> int:
    """In how many modules that make the grid coarser the stage is only the beginning, or a branch.

    A block that makes the grid coarser often begins on the finer grid: a bottleneck of ResNet's layer2 has its first
    convolution on the grid of layer1. So modules count that return larger cells than the stage, if the stage ends in their
    first half, or after larger cells inside, and they have no third size inside. (Such a module holds several levels.)
    """
    begun, ended = survey.trials.begun, survey.trials.ended

    def is_part(module: Stage) -> bool:
        inside = [s for s in stages if s.name.startswith(module.name + ".")]
        early = ended[stage.name] - begun[module.name] < (ended[module.name] - begun[module.name]) / 2
        late = any(_size(s) > _size(stage) and ended[s.name] < ended[stage.name] for s in inside)
        return len({_size(s) for s in (module, *inside)}) == 2 and (early or late)

    return sum(stage.name.startswith(a.name + ".") and _size(a) > _size(stage) and is_part(a) for a in stages)


def _inside(module: Stage, stages: list[Stage]) -> list[Stage]:
    return [stage for stage in stages if stage.name.startswith(module.name + ".")]


def _spaced(stages: list[Stage]) -> list[Stage]:
    """Evenly spaced stages of a network with cells of one size; the last one is the last.

    They are the outermost modules. Where these are fewer than wanted, the one that holds the most stages is opened.
    """
    opened: set[str] = set()
    while True:
        hidden = {s.name for a in stages if a.name not in opened for s in _inside(a, stages)}
        seen = [stage for stage in stages if stage.name not in hidden]
        closed = [a for a in seen if a.name not in opened and _inside(a, stages)]
        if len(seen) >= LEVELS_OF_ONE_SIZE or not closed:
            break
        opened.add(max(closed, key=lambda a: len(_inside(a, stages))).name)
    wanted = min(LEVELS_OF_ONE_SIZE, len(seen))
    return [seen[ceil((i + 1) * len(seen) / wanted) - 1] for i in range(wanted)]
