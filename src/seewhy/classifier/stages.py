"""The feature stages of a network, found by trials on pictures.

No name of a class decides anything. Four trials do: one picture alone, five pictures together, halves of a picture that
change, and the gradient of the logits by the features.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import Call, first_tensor, frozen, perturbable, scores_of_pass, with_first_tensor
from seewhy.classifier.grid_reading import GridReading, alike_readings, read_grid
from seewhy.classifier.probe import is_class_map
from seewhy.classifier.replay import map_tensors, tensors_in

MOST = 0.5
"""The output depends on more than this share of a feature layer's cells."""
CHANGE = 0.03
"""How much half of a picture changes. With larger changes, cells that see the whole picture change as much with any half."""
MIXED = 1e-2
"""A row of a layer may differ by this part when other pictures are beside it: kernels round otherwise for other batches."""
SOURCES_TRIED = 4
"""So many stages before a layer are tried, to see whether the layer follows one of them."""
ROUNDS = 4
"""So many times later stages are looked for that follow a stage."""


@dataclass(frozen=True)
class Stage:
    """A layer whose cells follow the places of the picture.

    living  share of its cells on which the output depends, in [0, 1]
    """

    name: str
    channels: int
    reading: GridReading
    living: float


class _Seen(NamedTuple):
    """The latest call of a module: how many calls had ended when it began and when it ended, and what it does.

    sample  some of the numbers in its output, as they were: an operation in place may follow
    """

    call: Call
    begun: int
    ended: int
    sample: Tensor
    does: Literal["nothing", "resizes", "works"]


@dataclass(frozen=True)
class Survey:
    """What the trials on a network found: see ``survey``."""

    stages: list[Stage]
    trials: "_Trials" = field(repr=False)
    others: dict[str, Stage | None] = field(default_factory=dict, repr=False)

    def layer(self) -> str | None:
        """The last stage of which most cells reach the output; where that is a branch, what the block around it reads.

        In a network of parallel branches no stage carries all, and the last one stays. If no stage has most of its cells
        alive, because a maximum over the places leaves few, the one with the most is taken. None if no cell reaches the
        output.
        """
        living = [stage for stage in self.stages if stage.living > MOST]
        if not living:
            best = max(self.stages, key=lambda stage: stage.living, default=None)
            return best.name if best is not None and best.living else None
        last = living[-1]
        if self._carries_all(last, living):
            return last.name
        sources = self._sources(last, living)
        return next((s.name for s in reversed(living) if s in sources and self._carries_all(s, living)), last.name)

    def _carries_all(self, stage: Stage, living: list[Stage]) -> bool:
        """Does all that the block around a stage reads go on through the stage? Else the stage is a branch of the block."""
        source = next(iter(self._sources(stage, living)), None)
        if source is None:
            return True
        return not self.trials.share(source, around=stage.name) and self._carries_all(source, living)

    def _sources(self, stage: Stage, living: list[Stage]) -> list[Stage]:
        """For each block around a stage, from the innermost: the last stage that had ended before the block began."""
        begun, ended = self.trials.begun, self.trials.ended
        parents = [stage.name[:end] for end, letter in enumerate(stage.name) if letter == "."]
        before = [[s for s in living if ended[s.name] < begun[block]] for block in reversed(parents) if block in begun]
        return [some[-1] for some in before if some]

    def stage(self, name: str) -> Stage | None:
        """Any layer as a stage, also one that is never chosen: a projection, or a pooling. None if it has no grid."""
        if found := next((stage for stage in self.stages if stage.name == name), None):
            return found
        if name not in self.others:
            self.others[name] = self.trials.stage(name, self.stages)
        return self.others[name]


@torch.no_grad()
def survey(module: nn.Module, image: Tensor, n_prefix_tokens: int | None) -> Survey:
    """The stages of a network, in the order of the pass, found with a normalized picture (1, c, h, w).

    A stage has one row for each picture, which does not depend on the other pictures. Each of its cells, at least 2 x 2,
    depends on its own place more than on others. It has parameters, or it changes the numbers and keeps the grid, as an
    activation does. It is no linear layer, as the projections inside an attention are, and no map of class scores. Of
    modules that return the same tensor, one stands for all: the outermost whose tensor the network goes on with. (A
    Hugging Face backbone returns its features beside their pooled values, and the network goes on with these.)
    """
    with frozen(module):
        seen, logits = _watch(module, image)
        alone = {s.call.name: s for s in seen if _may_have_grid(s.call.output)}
        candidates = _candidates(seen, logits.shape[-1], alone)
        trials = _Trials(
            module,
            image,
            n_prefix_tokens,
            logits,
            {s.call.name: s.begun for s in seen},
            {s.call.name: s.ended for s in seen},
        )
        names = [s.call.name for same in candidates for s in same]
        readings = trials.readings(alone, names)
        shares = trials.shares({name: readings[name] for name in names if name in readings})
    stages = []
    for same in candidates:
        calls = [s.call for s in same if s.call.name in shares]
        order = [(shares[c.name] > 0, -c.name.count("."), trials.ended[c.name]) for c in calls]
        if calls:
            call = calls[order.index(max(order))]
            stages.append(trials.described(call.name, call.output, readings[call.name], shares[call.name]))
    return Survey(sorted(stages, key=lambda stage: trials.ended[stage.name]), trials)


# -- one picture alone ------------------------------------------------------------------------------------------------


def _watch(module: nn.Module, image: Tensor) -> tuple[list[_Seen], Tensor]:
    """The latest call of each module that returns floats, in the order in which they ended; and the logits."""
    names = {m: name for name, m in module.named_modules() if name}
    simple = {m for m in names if next(m.parameters(), None) is None}
    starts: dict[nn.Module, list[tuple[int, Tensor | None, int]]] = {}
    seen: dict[str, _Seen] = {}
    ended = 0

    def before(m: nn.Module, args: tuple[object, ...]) -> None:
        given = next(tensors_in(args), None)
        starts.setdefault(m, []).append((ended, given, -1 if given is None else given._version))

    def after(m: nn.Module, _args: object, output: object) -> None:
        nonlocal ended
        begun, given, version = starts[m].pop()
        tensor = first_tensor(output)
        seen.pop(names[m], None)
        if tensor is not None and tensor.is_floating_point():
            does = _does(given, version, tensor) if m in simple and given is not None else "works"
            seen[names[m]] = _Seen(Call(names[m], m, tensor), begun, ended, _sample(tensor), does)
        ended += 1

    with ExitStack() as stack:
        for m in names:
            stack.enter_context(m.register_forward_pre_hook(before))
            stack.enter_context(m.register_forward_hook(after))
        logits = scores_of_pass(module, image)
    return list(seen.values()), logits


def _does(given: Tensor, version: int, output: Tensor) -> Literal["nothing", "resizes", "works"]:
    """What a module without parameters does: nothing, as dropout; another grid, as pooling; other numbers."""
    if output is given:
        return "nothing" if given._version == version else "works"  # in place
    kept = output.numel() == given.numel() or given.shape[2:] == output.shape[2:] or given.shape[1:-1] == output.shape[1:-1]
    if not kept:
        return "resizes"
    return "nothing" if given._version == version and torch.equal(given, output) else "works"


def _candidates(seen: list[_Seen], k: int, alone: Mapping[str, _Seen]) -> list[list[_Seen]]:
    """The calls that may be stages, of those in ``alone``; those that returned the same tensor are together."""
    groups: dict[int, list[_Seen]] = {}
    resized: set[int] = set()
    for place, s in enumerate(seen):
        key = id(s.call.output)
        if s.does == "resizes":
            resized.add(key)
        elif s.does == "nothing" or isinstance(s.call.module, nn.Linear) or s.call.name not in alone:
            continue
        elif not is_class_map([other.call for other in seen[place:]], k):
            groups.setdefault(key, []).append(s)
    return [same for key, same in groups.items() if key not in resized]


# -- five pictures together, and the gradient -------------------------------------------------------------------------


@dataclass(frozen=True)
class _Trials:
    """Trials on a network with a picture.

    logits        of the picture alone
    begun, ended  for each module that returns floats, how many calls had ended when its latest call began, and ended
    """

    module: nn.Module
    image: Tensor
    n_prefix_tokens: int | None
    logits: Tensor
    begun: Mapping[str, int]
    ended: Mapping[str, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[-2], self.image.shape[-1]

    def readings(self, alone: Mapping[str, _Seen], stages: list[str]) -> dict[str, GridReading]:
        """How each layer is read whose cells follow the places of the picture; a layer without such cells is left out.

        The picture is run with each of its halves changed a little: the upper, the lower, the left and the right. Where
        kernels are as large as the grid, each cell sees the whole picture. So maps of the same layout and grid as maps
        that follow the picture, or of half the grid, are read in the same way, unless the trial speaks against it. And
        what follows one of the last such stages, whose halves are then changed, follows the picture.
        """
        ratios = _which_halves(self, alone, None)
        found = self.followers(ratios)
        found |= {name: r for name, r in alike_readings(ratios, found, self.size).items() if name in stages}
        for _ in range(ROUNDS):
            last = max((place for place, name in enumerate(stages) if name in found), default=len(stages))
            later = {name: alone[name] for name in stages[last + 1 :]}
            sources = [name for name in reversed(stages[: last + 1]) if name in found][: SOURCES_TRIED if later else 0]
            trials = (self.followers(_which_halves(self, later, (name, found[name]))) for name in sources)
            if not (more := next(filter(None, trials), None)):
                break
            found |= more
        return found

    def followers(self, ratios: Mapping[str, list[Tensor]]) -> dict[str, GridReading]:
        """The layers whose cells follow the places, by how they answered to the halves."""
        found = {name: read_grid(ratio, self.size, self.n_prefix_tokens) for name, ratio in ratios.items()}
        return {name: reading for name, reading in found.items() if reading is not None}

    def stage(self, name: str, stages: list[Stage]) -> Stage | None:
        """Any layer, tried with the picture and with a few stages that end before it; None if it follows none of them."""
        before = [(s.name, s.reading) for s in stages if self.ended[s.name] < self.ended.get(name, 0)]
        with frozen(self.module), torch.no_grad():
            seen, _ = _watch(self.module, self.image)
            alone = {n: s for s in seen if (n := s.call.name) == name and _may_have_grid(s.call.output)}
            for source in (None, *before[: -SOURCES_TRIED - 1 : -1]):
                if reading := self.followers(_which_halves(self, alone, source)).get(name):
                    share = self.shares({name: reading})[name]
                    return self.described(name, alone[name].call.output, reading, share)
        return None

    def described(self, name: str, output: Tensor, reading: GridReading, share: float) -> Stage:
        return Stage(name, reading(output, self.size).shape[1], reading, share)

    def shares(self, readings: Mapping[str, GridReading]) -> dict[str, float]:
        """The share of each layer's cells by which the logits have a gradient."""
        with frozen(self.module), torch.enable_grad():
            zeros, logits = perturbable(self.module, list(readings), self.image)
            if not readings or not logits.requires_grad:
                return dict.fromkeys(readings, 0.0)
            weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device).view_as(logits)
            slopes = torch.autograd.grad((logits * weights).sum(), [zeros[name] for name in readings], allow_unused=True)
        return {
            name: 0.0 if slope is None else float((reading(slope, self.size) != 0).any(1).double().mean())
            for (name, reading), slope in zip(readings.items(), slopes, strict=True)
        }

    def share(self, stage: Stage, around: str) -> float:
        """The share of a stage's cells that reach the logits by another way than through the layer ``around``."""

        def cut(_module: nn.Module, _args: object, output: object) -> object:
            return map_tensors(output, torch.detach)  # also a class token that goes beside the grid

        with frozen(self.module), self.module.get_submodule(around).register_forward_hook(cut):
            return self.shares({stage.name: stage.reading})[stage.name]


def _may_have_grid(output: Tensor) -> bool:
    """One row for one picture, and 2 x 2 cells or more in some layout."""
    if len(output) != 1 or output.ndim not in (3, 4):
        return False
    return output.shape[1] >= 4 if output.ndim == 3 else max(min(output.shape[2:]), min(output.shape[1:3])) >= 2


def _which_halves(
    trials: _Trials, alone: Mapping[str, _Seen], source: tuple[str, GridReading] | None
) -> dict[str, list[Tensor]]:
    """How the cells of each layer answer to the halves of the picture, or of the layer ``source``: see ``_answers``.

    Layers are left out whose rows are not the five pictures. ``alone`` has the calls for the picture alone.
    """
    answers: dict[str, list[Tensor]] = {}
    differ: dict[str, float] = {}
    pictures = trials.image.repeat(5, 1, 1, 1)

    def change(reading: GridReading, _module: nn.Module, _args: object, output: object) -> object:
        if (tensor := first_tensor(output)) is None or len(tensor) != 5:
            return output
        changed = tensor.clone()
        _change_halves(reading(changed, trials.size))
        return with_first_tensor(output, changed)

    def note(name: str, _module: nn.Module, _args: object, output: object) -> None:
        answers.pop(name, None)
        tensor = first_tensor(output)
        if tensor is not None and len(tensor) == 5 and tensor.shape[1:] == alone[name].call.output.shape[1:]:
            answers[name], differ[name] = _answers(tensor), _difference(_sample(tensor[:1]), alone[name].sample)

    with ExitStack() as stack:
        if source is None:
            _change_halves(pictures)
        else:
            stack.enter_context(trials.module.get_submodule(source[0]).register_forward_hook(partial(change, source[1])))
        for name in alone:
            stack.enter_context(trials.module.get_submodule(name).register_forward_hook(partial(note, name)))
        together = scores_of_pass(trials.module, pictures)
    # where the whole network mixes pictures, as with batch statistics, no layer can be blamed for it
    allowed = max(MIXED, 10 * _difference(together[:1], trials.logits))
    return {name: answer for name, answer in answers.items() if differ[name] <= allowed}


def _change_halves(five: Tensor) -> None:
    """In maps (5, d, gh, gw) of the same picture, change the upper, lower, left and right half of all but the first.

    A row or a column in the middle belongs to no half.
    """
    h, w = five.shape[-2:]
    change = max(CHANGE, 30 * torch.finfo(five.dtype).eps) * five[0].flip(1, 2)
    upper, left = (slice(h // 2), slice(None)), (slice(None), slice(w // 2))
    lower, right = (slice(h - h // 2, None), slice(None)), (slice(None), slice(w - w // 2, None))
    for row, (ys, xs) in zip(five[1:], (upper, lower, left, right), strict=True):
        row[:, ys, xs] += change[:, ys, xs]


def _sample(output: Tensor) -> Tensor:
    """Up to some thousand of the numbers."""
    flat = output.reshape(-1)
    return flat[:: max(1, len(flat) // 4096)].clone()


def _difference(a: Tensor, b: Tensor) -> float:
    scale = b.abs().amax()
    return float((a - b).abs().amax() / scale) if scale > 0 else 0.0


def _answers(output: Tensor) -> list[Tensor]:
    """Logarithm of how much more a cell changes with the upper half than with the lower, and with the left than the right.

    (2, gh, gw) for maps, once with channels first and once with channels last; (2, tokens) for tokens.
    """
    whole = output.double() if output.dtype == torch.float64 else output.float()
    change = (whole[1:] - whole[:1]).square()
    rounding = (10 * torch.finfo(output.dtype).eps) ** 2 * whole[0].square().mean() + torch.finfo(whole.dtype).tiny
    cells = [(change.mean(axis) + rounding).log() for axis in ((1, 3) if output.ndim == 4 else (2,))]
    return [c[::2] - c[1::2] for c in cells]
