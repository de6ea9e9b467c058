"""The blocks of a borrowed transformer as modules: which modules return the tokens that the next block takes."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import first_tensor, run
from seewhy.classifier.operations import Operations
from seewhy.classifier.replay import map_tensors, tensors_in
from seewhy.classifier.token_dropping import is_attention
from seewhy.errors import UnsuitedError
from seewhy.types import Images

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier


@dataclass(eq=False)
class Called:
    """One call of a module: its tokens (n, t, d), if it is given tokens; and what it returned."""

    name: str
    module: nn.Module
    tokens: Tensor | None
    returned: object = None
    passes_tokens: bool = False

    @property
    def n_tokens(self) -> int:
        return 0 if self.tokens is None else self.tokens.shape[1]


def modules_around_attention(module: nn.Module, image: Tensor) -> list[list[Called]]:
    """For each attention of all tokens to all tokens, in the order of the pass: the modules around it, outermost first.

    A module counts if it is given the tokens and returns as many.
    """
    names = {m: name for name, m in module.named_modules() if name}
    open_calls: list[Called] = []
    chains: list[tuple[int, list[Called]]] = []

    def before(m: nn.Module, args: tuple[object, ...], named: dict[str, object]) -> None:
        given = next(tensors_in([args, named]), None)
        tokens = given if given is not None and given.ndim == 3 and given.is_floating_point() else None
        open_calls.append(Called(names[m], m, tokens))

    def after(_module: nn.Module, _args: object, _named: object, output: object) -> None:
        called, tensor = open_calls.pop(), first_tensor(output)
        called.returned = tensor if isinstance(output, Tensor) else map_tensors(output, torch.detach)
        called.passes_tokens = tensor is not None and called.tokens is not None and tensor.shape == called.tokens.shape

    class Watch(Operations):
        def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
            if name == "softmax" and is_attention(args[0]):
                chains.append((args[0].shape[-1], list(open_calls)))
            return function(*args, **named)

    with ExitStack() as stack:
        for m in names:
            stack.enter_context(m.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(m.register_forward_hook(after, with_kwargs=True))
        with Watch():
            run(module, image)
    around = [[c for c in chain if c.passes_tokens and c.n_tokens == t] for t, chain in chains]
    first = next((chain[0].n_tokens for chain in around if chain), 0)
    return [chain for chain in around if chain and chain[0].n_tokens == first > 1]


def candidate_blocks(chains: list[list[Called]]) -> Iterator[list[Called]]:
    """Lists of modules that hold all the attention: first those with one attention each, then what is in or around them."""
    held = Counter(called for chain in chains for called in chain)
    starts = [next((i for i, called in enumerate(chain) if held[called] == 1), len(chain) - 1) for chain in chains]
    known: list[list[Called]] = []
    for further in (0, 1, 2, -1, -2):
        places = (min(max(start + further, 0), len(chain) - 1) for start, chain in zip(starts, chains, strict=True))
        level = list(dict.fromkeys(chain[i] for i, chain in zip(places, chains, strict=True)))
        if level not in known:
            known.append(level)
            yield level


def find_blocks(classifier: "Classifier", pictures: Images) -> tuple[str, ...]:
    """The name of the module of each block, in the order of the pass, without an attention pooling at the end.

    A block is the outermost module that has one attention inside and returns the tokens (n, m, d). What follows the last
    block must depend on its tokens alone: with another picture's tokens there, the logits are those of the other picture,
    of two ``pictures``.

    UnsuitedError for a network that attention methods are not defined for, and for one without such modules.
    """
    transformer = classifier.transformer
    with classifier.running():
        chains = modules_around_attention(classifier.module, classifier.normalize(pictures[:1]))
    blocks = tuple(called.name for called in next(candidate_blocks(chains), []))
    if len(blocks) != transformer.n_blocks - transformer.pooled or not _goes_on_alone(classifier, blocks[-1], pictures):
        kind = type(classifier.module).__name__
        raise UnsuitedError(
            f"{kind} has no module for each block whose tokens alone go on: attention_gradients, tiba and attention_rollout "
            "need none"
        )
    return blocks


def _goes_on_alone(classifier: "Classifier", block: str, pictures: Images) -> bool:
    """Are the logits of the second picture those of its tokens after the block, in a pass of the first picture?"""
    with classifier.running():
        recorded, logits = classifier.record(pictures[:1], block)
        other, expected = classifier.record(pictures[1:], block)
        found = classifier.run_from(recorded, other.features, pictures[:1])
    scale = (expected - logits).abs().max()
    return bool((found - expected).abs().max() <= 1e-3 * scale + 1e3 * torch.finfo(found.dtype).eps * expected.abs().max())
