"""The contract of an explainer, as checks that anybody can run on their own method and network.

    from seewhy.testing import check_explainer
    check_explainer(lambda classifier: MyMethod(classifier), classifier, images, targets)

``images`` is (n, c, h, w) in [0, 1] with n >= 2 different images, ``targets`` (n,) with at least two classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import frozen
from seewhy.classifier.classifier import Classifier
from seewhy.describe import as_json
from seewhy.explainers import Explainer, ExplainsClasses
from seewhy.testing.wanted import built_explainer, expect, must_be_maps, must_tell_methods_apart
from seewhy.types import Images, Targets

Build = Callable[[Classifier], Explainer]
Check = Callable[[Build, Classifier, Images, Targets], None]


def check_shape_and_values(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Image height, width, dtype and device; detached and finite."""
    maps = build(classifier).explain(images, targets)
    must_be_maps(maps, images)
    expect(bool(torch.isfinite(maps).all()), "maps are not finite")


def check_constant_images(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Finite maps also for images of one color: black, gray and white."""
    for level in (0.0, 0.5, 1.0):
        maps = build(classifier).explain(torch.full_like(images, level), targets)
        expect(bool(torch.isfinite(maps).all()), f"maps of a constant image of {level} are not finite")


def check_double_precision(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """A network and images in float64 give a map in float64."""
    double = replace(classifier, module=deepcopy(classifier.module).double())
    expect(build(double).explain(images.double(), targets).dtype == torch.float64, "the map of float64 is not float64")


def check_image_alone(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Map i depends on image i and target i alone: in a batch, alone, and in another order."""
    explainer = build(classifier)
    together = explainer.explain(images, targets)
    for i in range(len(images)):
        close(explainer.explain(images[i : i + 1], targets[i : i + 1])[0], together[i], "an image alone")
    backwards = explainer.explain(images.flip(0), targets.flip(0)).flip(0)
    close(backwards, together, "images in another order")


def check_chunk_size(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The map does not depend on ``batch_size``."""
    explainer = build(classifier)
    if not hasattr(explainer, "batch_size"):
        return
    expected = explainer.explain(images, targets)
    for size in (1, 2, 1000):
        chunked = replace(cast(Any, explainer), batch_size=size)
        close(chunked.explain(images, targets), expected, f"batch_size={size}")


def check_repeats(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Same input and seed, same map, whatever the global generators do; and they are not touched."""
    first = build(classifier).explain(images, targets)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    second = build(classifier).explain(images, targets)
    expect(torch.equal(torch.get_rng_state(), state), "the global random generator was used")
    expect(torch.equal(first, second), "two runs differ")


def check_target_matters(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """``class_specific`` says the truth."""
    explainer = build(classifier)
    first, second = (explainer.explain(images, torch.full_like(targets, int(t))) for t in targets[:2])
    expect(
        explainer.class_specific != torch.equal(first, second),
        f"class_specific is {explainer.class_specific}, but the maps of two classes say otherwise",
    )


def check_classes(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """``explain_classes`` gives what ``explain`` gives, class by class."""
    explainer = build(classifier)
    if not isinstance(explainer, ExplainsClasses):
        return
    classes = targets.unique()
    maps = explainer.explain_classes(images, classes)
    expect(maps.shape == (len(images), len(classes), *images.shape[-2:]), f"maps have shape {tuple(maps.shape)}")
    expect(not maps.requires_grad, "maps carry a graph")
    for j, c in enumerate(classes):
        close(maps[:, j], explainer.explain(images, c.expand(len(images))), f"class {int(c)} among all")


def check_leaves_no_trace(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Images, weights, buffers, ``.grad``, flags, hooks, submodules and grad mode as before."""
    module = classifier.module
    with disturbed(module):
        before, kept = snapshot(module), images.clone()
        build(classifier).explain(images, targets)
        expect_same(before, snapshot(module))
        expect(torch.equal(images, kept) and not images.requires_grad and images.grad is None, "the images changed")
        expect(torch.is_grad_enabled(), "grad mode was left off")


def check_exception_leaves_no_trace(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The same when the network raises in the middle; and the exception comes out."""
    explainer = build(classifier)
    explainer.explain(images, targets)  # what is found once, such as the feature layer, is found by now
    module, calls = classifier.module, []
    with disturbed(module):
        last = [m for m in module.modules() if not list(m.children())][-1]

        def fail(*_: object) -> None:
            calls.append(1)
            raise IndexError("the network failed")

        handle = last.register_forward_hook(fail)
        before = snapshot(module)
        with suppress(IndexError):
            explainer.explain(images, targets)
            expect(not calls, "the network's exception was swallowed")
        expect_same(before, snapshot(module))
        handle.remove()


def check_without_grad(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The same map under ``no_grad``, with frozen parameters, and for images that require gradients."""
    expected = build(classifier).explain(images, targets)
    with frozen(classifier.module), torch.no_grad():
        close(build(classifier).explain(images, targets), expected, "under no_grad, parameters frozen")
    maps = build(classifier).explain(images.clone().requires_grad_(), targets)
    expect(not maps.requires_grad, "maps carry the graph of images that require gradients")
    close(maps, expected, "images that require gradients")


def check_train_mode(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """A network that was left in training mode is explained in eval mode, and stays in training mode."""
    own = replace(classifier, module=deepcopy(classifier.module).eval())  # a careless method changes running statistics
    expected = build(own).explain(images, targets)
    own.module.train().requires_grad_()
    maps = build(own).explain(images, targets)
    expect(
        torch.allclose(maps, expected, rtol=1e-3, atol=1e-5),
        "a network in training mode is explained in training mode, where dropout draws and batch norm reads all images: "
        "call the network in `with self.classifier.running(gradients=True):`, which sets eval mode and restores what was",
    )
    expect(all(m.training for m in own.module.modules()), "training mode was not restored")


CHECKS: tuple[Check, ...] = (
    check_shape_and_values,
    check_train_mode,
    check_constant_images,
    check_double_precision,
    check_image_alone,
    check_chunk_size,
    check_repeats,
    check_target_matters,
    check_classes,
    check_leaves_no_trace,
    check_exception_leaves_no_trace,
    check_without_grad,
)


def check_explainer(build: Build, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Run every check; the first promise that is broken raises AssertionError and says which.

    What is no explainer at all, such as an attribution of another library, is answered with what it lacks and what to do.
    """
    built_explainer(build, classifier)
    must_tell_methods_apart(images, targets)
    for check in CHECKS:
        check(build, classifier, images, targets)


def close(actual: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5, msg=lambda m: f"{what} gives another map: {m}")


@contextmanager
def disturbed(module: nn.Module) -> Iterator[None]:
    """A state that a careless method would change: some submodules training, some parameters frozen, gradients held."""
    gradients = [(p, p.grad) for p in module.parameters()]
    modes = [(m, m.training) for m in module.modules()]
    with frozen(module):  # it restores the flags of the parameters at the end
        for i, m in enumerate(module.modules()):
            m.training = i % 2 == 0
        for i, (p, _) in enumerate(gradients):
            p.requires_grad_(i % 3 != 0)
            p.grad = torch.ones_like(p)
        try:
            yield
        finally:
            for p, gradient in gradients:
                p.grad = gradient
            for m, mode in modes:
                m.training = mode


def snapshot(module: nn.Module) -> dict[str, object]:
    """All of a module that a method must not change; digests in the place of tensors."""
    return {
        "training mode": [m.training for m in module.modules()],
        "requires_grad": [p.requires_grad for p in module.parameters()],
        "gradients": as_json([p.grad for p in module.parameters()]),
        "weights or buffers": as_json(module.state_dict()),
        "devices": [t.device for t in module.state_dict().values()],
        "submodules": [(name, id(m), type(m)) for name, m in module.named_modules()],
        "attributes": [sorted(m.__dict__) for m in module.modules()],
        "hooks": [
            [list(getattr(m, kind)) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")]
            for m in module.modules()
        ],
    }


def expect_same(before: dict[str, object], after: dict[str, object]) -> None:
    for name, value in before.items():
        expect(after[name] == value, f"{name} of the network changed")
