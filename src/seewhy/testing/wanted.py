"""What is no explainer, metric or dataset at all: one line says what is missing, and what to do."""

from collections.abc import Callable, Mapping
from inspect import Parameter, isclass, isfunction, signature
from typing import Any, get_args

from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.explainers import Explainer
from seewhy.explainers.base import Family
from seewhy.types import Images

SIGNED = {
    "explain": "explain(self, images, targets)",
    "family": f"family, one of {', '.join(get_args(Family))}",
    "class_specific": "class_specific, True or False",
    "paper": 'paper, a key of the bibliography or ""',
}
"""The members of an explainer, as a class writes them."""
WRAP = (
    "write a class with explain(self, images, targets) that, in `with self.classifier.running(gradients=True):`, returns "
    "{call}, and with family, class_specific and paper; then give what makes it, lambda classifier: Mine(classifier)"
)


def expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def built_explainer(build: Callable[[Classifier], Explainer], classifier: Classifier) -> Explainer:
    """What ``build`` makes for the classifier. AssertionError where that is no explainer: what is missing, what to do."""
    must_be_classifier(classifier)
    given: Any = build
    name = type(given).__name__
    expect(
        not isinstance(given, str),
        f"{given!r} is a text: give a function that builds the explainer, "
        f"lambda classifier: seewhy.explainer({given!r}, classifier)",
    )
    expect(
        not (hasattr(given, "explain") and not isclass(given)),
        f"{name} is an explainer: give a function that builds it for any classifier, lambda classifier: {name}(classifier)",
    )
    must_be_no_other(given)
    expect(
        callable(given),
        f"{name} builds no explainer: give a function of the classifier, lambda classifier: Mine(classifier)",
    )
    needed = _required(given)
    expect(
        needed in (1, None),
        f"{getattr(given, '__name__', name)} takes {needed} arguments: give a function of the classifier alone that builds "
        "the explainer. A function of images and targets belongs into a class, as its explain",
    )
    made: Any = given(classifier)
    expect(made is not None, "the function that builds the explainer returns None: it lacks a return")
    expect(
        not isclass(made),
        f"the function that builds the explainer returns the class {getattr(made, '__name__', made)}: make one of it, "
        f"{getattr(made, '__name__', made)}(classifier)",
    )
    must_be_no_other(made)
    expect(
        not isfunction(made),
        "the function that builds the explainer returns a function: write a class whose explain(self, images, targets) does "
        "what the function does",
    )
    must_have(made, SIGNED, "explainer")
    _must_take(made.explain, 2, "explain", "images (n, c, h, w) and targets (n,)")
    expect(made.family in get_args(Family), f"{type(made).__name__}.family is {made.family!r}: give {SIGNED['family'][8:]}")
    expect(
        isinstance(made.class_specific, bool),
        f"{type(made).__name__}.class_specific is {made.class_specific!r}: give a bool",
    )
    expect(isinstance(made.paper, str), f"{type(made).__name__}.paper is {made.paper!r}: give a text")
    found: Explainer = made
    return found


def must_be_no_other(given: Any) -> None:
    """AssertionError for what another library makes: a network, an attribution of Captum, a CAM of pytorch-grad-cam."""
    name = type(given).__name__
    if hasattr(given, "attribute") and not isclass(given):
        call = f"{name}(self.classifier.logits).attribute(images, target=targets).sum(1).detach()"
        raise AssertionError(f"{name} has attribute and no explain, as attributions of Captum: {WRAP.format(call=call)}")
    if isinstance(given, nn.Module):
        call = "a map (n, h, w)"
        raise AssertionError(f"{name} is a torch module, and no explainer: {WRAP.format(call=call)}")
    if hasattr(given, "activations_and_grads") and callable(given):
        call = "torch.from_numpy(cam(images, [ClassifierOutputTarget(int(t)) for t in targets])).to(images)"
        raise AssertionError(f"{name} has no explain, as the methods of pytorch-grad-cam: {WRAP.format(call=call)}")


def must_have(given: Any, members: Mapping[str, str], kind: str) -> None:
    """AssertionError where members are missing: all of them, as a class writes them."""
    name = type(given).__name__
    missing = [written for member, written in members.items() if not hasattr(given, member)]
    expect(not missing, f"{name} is no {kind}: it has no {'; and no '.join(missing)}")


def must_be_maps(maps: Any, images: Images) -> None:
    """AssertionError where ``maps`` are not (n, h, w), of the images' type and device, without a graph: what to do."""
    n, size = len(images), tuple(images.shape[-2:])
    found = type(maps).__name__
    as_tensor = "torch.from_numpy(maps).to(images)" if found == "ndarray" else "one tensor (n, h, w)"
    expect(isinstance(maps, Tensor), f"explain returns a {found}: return {as_tensor}")
    shape = tuple(maps.shape)
    hint = ""
    if shape == (n, *images.shape[1:]):
        hint = ": sum over the channels, maps.sum(1)"
    elif shape == (n, 1, *size):
        hint = ": leave out the channel, maps[:, 0]"
    elif shape == size:
        hint = ": give a map for each image, not one for all"
    elif len(shape) == 3 and shape[0] == n:
        hint = ": enlarge them, seewhy.maps.upsample(maps, images.shape[-2:])"
    expect(shape == (n, *size), f"maps have shape {shape}, and {n} images of {size} have maps of {(n, *size)}{hint}")
    expect(
        maps.dtype == images.dtype and maps.device == images.device,
        f"maps are {maps.dtype} on {maps.device}, and images {images.dtype} on {images.device}: return maps.to(images)",
    )
    expect(not maps.requires_grad and maps.grad_fn is None, "maps carry a graph: return maps.detach()")


def must_tell_methods_apart(images: Any, targets: Any) -> None:
    """AssertionError for images and targets with which the checks could not tell a good method from a bad one."""
    expect(isinstance(images, Tensor) and images.ndim == 4, "give images as a tensor (n, c, h, w) in [0, 1]")
    expect(isinstance(targets, Tensor) and targets.shape == (len(images),), "give targets as a tensor (n,) of classes")
    expect(len(images) >= 2, f"{len(images)} image cannot show whether a map depends on its image alone: give two or more")
    alike = bool((images == images[:1]).all())
    expect(not alike, "all images are the same: give different ones")
    expect(len(targets.unique()) >= 2, "all targets are the same class: give two or more classes")


def _required(function: Any) -> int | None:
    """How many arguments a function needs; None where nobody knows."""
    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    needed = sum(p.kind in kinds and p.default is Parameter.empty for p in parameters)
    most = sum(p.kind in kinds for p in parameters)
    return 1 if needed == 0 and (most or any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)) else needed


def _must_take(method: Any, n: int, name: str, what: str) -> None:
    """AssertionError where ``method`` cannot be called with n arguments."""
    try:
        signature(method).bind(*[None] * n)
    except TypeError as error:
        raise AssertionError(f"{name} cannot be called with {what}: {error}") from None
    except ValueError:  # a method without a signature
        pass
