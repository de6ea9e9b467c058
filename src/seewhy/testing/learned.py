"""The contract of a learned explainer, as checks that anybody can run on their own method and network.

    from seewhy.testing import check_learned
    check_learned(lambda classifier: MyLearnedMethod(classifier), classifier, images, targets)

The arguments are those of ``check_explainer``, which checks the maps. These checks are of the training: of the new network,
of the loss, and of the folder. ``build`` gives the method before its training, under the name that the registry has.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UntrainedError
from seewhy.explainers.learned.folder import load_explainer, save_explainer
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Step
from seewhy.files import scratch
from seewhy.testing.explainers import close, disturbed, expect_same, snapshot
from seewhy.testing.wanted import built_explainer, expect, must_tell_methods_apart
from seewhy.types import Images, Targets

BuildLearned = Callable[[Classifier], LearnedExplainer]
Check = Callable[[BuildLearned, Classifier, Images, Targets], None]


def check_untrained_refuses(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Before the training there are no maps: one line says how to train."""
    try:
        replace(build(classifier), network=None).explain(images, targets)
    except UntrainedError as error:
        expect("seewhy fit" in str(error) and "\n" not in str(error), f"the error is no line that helps: {error}")
    else:
        raise AssertionError("a method without a network gives maps")


def check_untrained_repeats(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The same seed gives the same new network, another seed another one; the global generators stay."""
    method = build(classifier)
    method.untrained().explain(images, targets)  # what the classifier finds once is found by now
    before = _generators()
    first, again, other = (method.untrained(seed).ready.state_dict() for seed in (1, 1, 2))
    expect(_generators() == before, "a new network draws from a global generator, or sets its seed")
    expect(all(torch.equal(first[name], again[name]) for name in first), "the same seed gives another network")
    expect(not all(torch.equal(first[name], other[name]) for name in first), "another seed gives the same network")


def check_loss(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Terms with names, each a finite number, whose sum reaches every weight; masks in [0, 1]."""
    method = _for_training(build, classifier)
    with _stepping(method, images, targets) as step:
        torch.stack([*step.terms.values()]).sum().backward()
    expect(bool(step.terms) and all(step.terms), "the loss has no terms, or a term without a name")
    for name, term in step.terms.items():
        expect(term.ndim == 0 and bool(term.isfinite()), f"the term {name} is {term}")
    expect(step.masks.ndim == 4 and len(step.masks) == len(images), f"the masks are {tuple(step.masks.shape)}")
    low, high = float(step.masks.detach().amin()), float(step.masks.detach().amax())
    expect(low >= 0 and high <= 1, f"the masks are in [{low:.3g}, {high:.3g}]")
    for name, weight in method.ready.named_parameters():
        if weight.requires_grad:
            expect(weight.grad is not None and bool(weight.grad.isfinite().all()), f"no finite gradient reaches {name}")


def check_loss_repeats(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """All draws of the loss come from its generator: whatever the global generators are, the loss is the same.

    Dropout of the network is switched off here, since it draws from the global one.
    """
    method = _for_training(build, classifier)
    found = []
    with _generators_restored():
        for seed in (1, 2):
            _set_generators(seed)
            start = deepcopy(method.ready.state_dict())
            with _stepping(method, images, targets) as step:
                found.append({name: float(term.detach()) for name, term in step.terms.items()})
            method.ready.load_state_dict(start)  # running statistics
    expect(found[0] == found[1], f"the loss draws from a global generator: {found[0]} and {found[1]}")


def check_step_leaves_no_trace(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """After ``see``, ``loss`` and the backward pass the explained network is as before, and so are the images."""
    method, module = _for_training(build, classifier), classifier.module
    with disturbed(module):
        before, kept = snapshot(module), images.clone()
        with _stepping(method, images, targets) as step:
            torch.stack([*step.terms.values()]).sum().backward()
        expect_same(before, snapshot(module))
        expect(torch.equal(images, kept) and images.grad is None, "the images changed")


def check_failing_step_leaves_no_trace(
    build: BuildLearned, classifier: Classifier, images: Images, targets: Targets
) -> None:
    """The same when the explained network raises in the middle of ``see`` or of ``loss``; and the exception comes out."""
    method, module = _for_training(build, classifier), classifier.module
    seen = method.see(images, _labels(classifier, targets))
    calls: list[int] = []

    def fail(*_: object) -> None:
        calls.append(1)
        raise IndexError("the network failed")

    with disturbed(module):
        last = [m for m in module.modules() if not list(m.children())][-1]
        handle = last.register_forward_hook(fail)
        before = snapshot(module)
        for run in (lambda: method.see(images), lambda: method.loss(seen, _generator())):
            calls.clear()
            with suppress(IndexError):
                with classifier.running(gradients=True):
                    run()
                expect(not calls, "the network's exception was swallowed")
            expect_same(before, snapshot(module))
        handle.remove()


def check_one_pass(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """A map takes at most one pass of the explained network for each image; with the prediction exactly one."""
    method = build(classifier).untrained()
    method.predict_and_explain(images)  # what is found once is found by now
    rows: list[int] = []
    handle = classifier.module.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    try:
        method.explain(images, targets)
        expect(sum(rows) <= len(images), f"explain runs the network on {sum(rows)} images for {len(images)}")
        rows.clear()
        method.predict_and_explain(images, targets[:, None])
        expect(sum(rows) == len(images), f"predict_and_explain runs the network on {sum(rows)} images for {len(images)}")
    finally:
        handle.remove()


def check_predict_and_explain(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """It gives the logits of the classifier, and the maps of ``explain``: of the classes given, or of the predicted one."""
    method = build(classifier).untrained()
    with torch.no_grad():
        expected = classifier.logits(images)
    logits, maps = method.predict_and_explain(images, targets[:, None])
    close(logits, expected, "the logits beside the maps")
    close(maps[:, 0], method.explain(images, targets), "predict_and_explain")
    _, maps = method.predict_and_explain(images)
    expect(not maps.requires_grad and not logits.requires_grad, "logits or maps carry a graph")
    close(maps[:, 0], method.explain(images, expected.argmax(1)), "predict_and_explain of the predicted class")


def check_eight_images(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The maps of eight images at once are those of each alone."""
    method = build(classifier).untrained()
    turned = torch.cat([images.flip(axes) for axes in ((), (2,), (3,), (2, 3), (1,), (1, 2), (1, 3), (1, 2, 3))])[:8]
    classes = targets.repeat(8)[: len(turned)]
    together = method.explain(turned, classes)
    for i in range(len(turned)):
        alone = method.explain(turned[i : i + 1], classes[i : i + 1])[0]
        torch.testing.assert_close(alone, together[i], rtol=1e-5, atol=1e-5)


def check_type_of_images(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """The maps have the type of the images; a network in float64 gets an explainer that gives float64."""
    method = build(classifier).untrained()
    expect(method.explain(images.double(), targets).dtype == torch.float64, "maps of images in float64 are not float64")
    double = replace(classifier, module=deepcopy(classifier.module).double())
    maps = build(double).untrained().explain(images.double(), targets)
    expect(maps.dtype == torch.float64, "maps of a network in float64 are not float64")


def check_folder(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Saved and loaded, the explainer gives the same maps to the bit; without its classifier too, where it reads none."""
    method = build(classifier).untrained(3)
    expected = method.explain(images, targets)
    with scratch(Path(gettempdir())) as folder:
        save_explainer(method, folder / "explainer")
        again = load_explainer(folder / "explainer", classifier)
        expect(torch.equal(again.explain(images, targets), expected), "the explainer of the folder gives other maps")
        if not method.layers:
            alone = load_explainer(folder / "explainer")
            close(alone.explain(images, targets), expected, "without its classifier, the explainer")


CHECKS: tuple[Check, ...] = (
    check_untrained_refuses,
    check_untrained_repeats,
    check_loss,
    check_loss_repeats,
    check_step_leaves_no_trace,
    check_failing_step_leaves_no_trace,
    check_one_pass,
    check_predict_and_explain,
    check_eight_images,
    check_type_of_images,
    check_folder,
)


def check_learned(build: BuildLearned, classifier: Classifier, images: Images, targets: Targets) -> None:
    """Run every check; the first promise that is broken raises AssertionError and says which.

    What is no learned explainer at all is answered with what it lacks and what to do.
    """
    made = built_explainer(build, classifier)
    expect(
        isinstance(made, LearnedExplainer),
        f"{type(made).__name__} is no learned explainer: make it a subclass of LearnedExplainer, with new_network, loss and "
        "masks; or, if it is trained elsewhere, check it with check_explainer",
    )
    must_tell_methods_apart(images, targets)
    for check in CHECKS:
        check(build, classifier, images, targets)


def _for_training(build: BuildLearned, classifier: Classifier) -> LearnedExplainer:
    """The method with a new network in training mode, but for dropout."""
    method = build(classifier).untrained()
    method.ready.train()
    for part in method.ready.modules():
        if isinstance(part, _DropoutNd):
            part.eval()
    return method


@contextmanager
def _stepping(method: LearnedExplainer, images: Images, targets: Targets) -> Iterator[Step]:
    """The loss, in a block in which the explained network is frozen: so the loop that trains makes its steps."""
    with method.classifier.running(gradients=True):
        yield method.loss(method.see(images, _labels(method.classifier, targets)), _generator())


def _labels(classifier: Classifier, targets: Targets) -> Tensor:
    """Labels as a dataset has them: a class for each image, or a row of zeros and ones."""
    return nn.functional.one_hot(targets, classifier.n_classes).float() if classifier.multilabel else targets


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def _generators() -> tuple[object, ...]:
    """The states of the global generators of tensors and arrays."""
    return torch.get_rng_state().tolist(), str(np.random.get_state(legacy=False))


def _set_generators(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)


@contextmanager
def _generators_restored() -> Iterator[None]:
    before = torch.get_rng_state(), np.random.get_state()
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
