"""The blocks of a borrowed transformer as modules: which modules return the tokens that the next block takes."""

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from seewhy.classifier.attention import Attending
from seewhy.classifier.borrow import first_tensor
from seewhy.errors import UnsuitedError
from seewhy.types import Images

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier


def find_blocks(classifier: "Classifier", pictures: Images) -> tuple[str, ...]:
    """The name of the module of each block, in the order of the pass, without an attention pooling at the end.

    A block is the outermost module that has one attention inside and returns the tokens (n, m, d). What follows the last
    block must depend on its tokens alone: with another picture's tokens there, the logits are those of the other picture,
    of two ``pictures``.

    UnsuitedError for a network that attention methods are not defined for, and for one without such modules.
    """
    transformer = classifier.transformer
    used = transformer.used[: transformer.n_blocks - transformer.pooled]
    names = _around_one_attention(classifier, pictures[:1])
    blocks = tuple(names[place] for place in used if place in names)
    if len(blocks) < len(used) or not _goes_on_alone(classifier, blocks[-1], pictures):
        kind = type(classifier.module).__name__
        raise UnsuitedError(
            f"{kind} has no module for each block whose tokens alone go on: attention_gradients, tiba and attention_rollout "
            "need none"
        )
    return blocks


def _around_one_attention(classifier: "Classifier", picture: Images) -> dict[int, str]:
    """For each attention of a pass, by its number, the outermost module around it alone that returns tokens."""
    found: dict[int, str] = {}
    begun: dict[str, list[int]] = {}
    attending = Attending(1)

    def before(name: str, _module: nn.Module, _args: object) -> None:
        begun.setdefault(name, []).append(len(attending.attentions))

    def after(name: str, _module: nn.Module, _args: object, output: object) -> None:
        first = begun[name].pop()
        inside, tokens = attending.attentions[first:], first_tensor(output)
        if len(inside) == 1 and tokens is not None and tokens.ndim == 3 and tokens.shape[1] == inside[0].weights.shape[2]:
            found[first] = name  # modules around it end later, and take its place

    with classifier.running(), ExitStack() as stack:
        for name, module in classifier.module.named_modules():
            stack.enter_context(module.register_forward_pre_hook(partial(before, name)))
            stack.enter_context(module.register_forward_hook(partial(after, name)))
        with attending:
            classifier.logits(picture)
    return found


def _goes_on_alone(classifier: "Classifier", block: str, pictures: Images) -> bool:
    """Are the logits of the second picture those of its tokens after the block, in a pass of the first picture?"""
    with classifier.running():
        recorded, logits = classifier.record(pictures[:1], block)
        other, expected = classifier.record(pictures[1:], block)
        found = classifier.run_from(recorded, other.features, pictures[:1])
    scale = (expected - logits).abs().max()
    return bool((found - expected).abs().max() <= 1e-3 * scale + 1e3 * torch.finfo(found.dtype).eps * expected.abs().max())
