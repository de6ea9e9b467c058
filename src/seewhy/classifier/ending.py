"""How a network ends, found by a probe: in logits, probabilities or values; and why it fails, where it does."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seewhy.classifier import checks
from seewhy.classifier.borrow import buffers_kept, frozen, logits_in, run
from seewhy.classifier.outputs import (
    IN_WORDS,
    LEAST_CHANGE,
    Ending,
    Outputs,
    Watch,
    are_within_one,
    as_logits,
    declared_ending,
    named_as_features,
)
from seewhy.classifier.precision import is_out_of_memory
from seewhy.errors import SeewhyError, cause

UNSURE = 'numbers in [0, 1] alone, which are taken for logits: say outputs="logits", "probabilities" or "values"'
"""What is said where a probe cannot tell."""


class FoundEnding(NamedTuple):
    """How a network ends.

    kind     None where the network fails on two images: then each of its answers is looked at by itself
    said     that in words
    failure  why the network fails on one image; empty if it works
    probed   the answers of the network have shown it; else the user or the network has said it
    """

    kind: Ending | None
    said: str
    failure: str = ""
    probed: bool = False


def find_ending(module: nn.Module, image: Tensor, outputs: Outputs | None) -> FoundEnding:
    """How the network ends, as passes of a normalized random ``image`` (1, c, h, w) show.

    ``outputs`` is what the user says of the network's numbers.
    """
    declared: Ending | None = outputs if outputs in ("logits", "values", "embedding") else None
    if outputs is None:
        declared = declared_ending(module)
    with frozen(module), buffers_kept(module), torch.no_grad():
        try:
            if declared is not None:
                must_work(module, image)
                return FoundEnding(declared, IN_WORDS[declared])
            return _probed(module, torch.cat([image, image / 2]), outputs)
        except Exception as error:  # the network is the user's own: it may take another size, or one image at a time
            if is_out_of_memory(error.__cause__ or error):
                raise  # the next time there may be enough
            said = IN_WORDS[declared] if declared else "outputs that no probe could tell"
            try:
                must_work(module, image)
            except SeewhyError as failure:
                return FoundEnding(declared, said, str(failure))
            return FoundEnding(declared, said)


def _probed(module: nn.Module, images: Tensor, outputs: Outputs | None) -> FoundEnding:
    """How the network ends on two different images."""
    with Watch() as watch:
        output = run(module, images)
    if outputs is None and named_as_features(output):
        return FoundEnding("embedding", IN_WORDS["embedding"], probed=True)
    answer = answer_in(module, output, len(images))
    kind, _ = as_logits(answer, watch.calls, type(module).__name__, outputs)
    if kind == "logits" and are_within_one(answer):
        far = [answer_in(module, run(module, images * factor), len(images)) for factor in (-3, 30)]
        wild = torch.cat([answer, *far])
        if are_within_one(wild) and (wild.amax(0) - wild.amin(0)).amax() >= LEAST_CHANGE:
            return FoundEnding(kind, UNSURE, probed=True)
    return FoundEnding(kind, IN_WORDS[kind], probed=True)


def answer_in(module: nn.Module, output: object, n: int) -> Tensor:
    """The numbers (n, k) in what the module returned for n images; SeewhyError if there are none such."""
    answer, kind = logits_in(output), type(module).__name__
    if answer.ndim != 2 or answer.shape[0] != n:
        raise SeewhyError(
            f"{kind} returned shape {tuple(answer.shape)} for {n} images; a classifier returns ({n}, number of classes)"
        )
    return answer


def must_work(module: nn.Module, images: Tensor) -> None:
    """SeewhyError if the network fails on the normalized ``images`` (n, c, h, w)."""
    try:
        run(module, images)
    except Exception as error:  # the network is the user's own and may fail in any way
        raise SeewhyError(checks.why_it_fails(module, images, error)) from error


def must_have_gradients(module: nn.Module, image: Tensor) -> None:
    """SeewhyError if no gradient of the output reaches the ``image`` (1, c, h, w), with the reason where it can be told."""
    try:
        with frozen(module), torch.enable_grad():
            leaf = image.detach().requires_grad_()
            answer = answer_in(module, run(module, leaf), 1)
            found = torch.autograd.grad(answer.sum(), leaf, allow_unused=True) if answer.requires_grad else (None,)
    except RuntimeError as error:
        if "requires grad" not in str(error):  # as a conversion to NumPy says; all else is the network's own error
            raise
        raise SeewhyError(f"{checks.NO_GRADIENTS} ({cause(error)})") from error
    if found[0] is None:
        raise SeewhyError(checks.NO_GRADIENTS)
