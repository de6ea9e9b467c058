"""``seewhy.fit``: an explainer that learns, a classifier and pictures in, a trained explainer out."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import asdict, is_dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.identity import classifier_identity
from seewhy.classifier.threads import threads as computing_threads
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.data import Dataset
from seewhy.describe import environment, fields_as_json, weights_digest
from seewhy.devices import ShareError
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.folder import save_explainer
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.explainers.learned.settings import Settings
from seewhy.explanation.targets import TARGETS
from seewhy.masking.surrogate import save_surrogate
from seewhy.options import build, is_held, repeated
from seewhy.training.held_out import split
from seewhy.training.loop import Loop, TrainingProgress, micro_batches, order_of
from seewhy.training.methods import learned_methods, method_name, registry_of
from seewhy.training.monitor import MEASURES, monitor_of
from seewhy.training.optimizers import make_optimizer
from seewhy.training.presets import preset as read_preset
from seewhy.training.presets import settings_with
from seewhy.training.records import Records
from seewhy.training.seen_images import SeenImages
from seewhy.training.surrogate import SurrogateTraining
from seewhy.training.time_budget import TimeBudget
from seewhy.training.together import Together
from seewhy.training.trainable import Trainable
from seewhy.training.training_folder import TRAINING_SCHEMA, TrainingFolder, TrainingManifest, TrainingState, weights_of
from seewhy.training.training_log import TrainingLog, must_have_tensorboard

if TYPE_CHECKING:
    from lightning.fabric import Fabric

HELD_OUT_MEMORY = 0.25
"""Share of the memory for held-out images, which are seen at every validation."""


@on_cpu_by_default()
def fit(
    what: str | Trainable,
    classifier: Classifier,
    dataset: Dataset,
    out: str | Path,
    *,
    options: Mapping[str, object] | None = None,
    preset: str | None = None,
    validation: Dataset | None = None,
    every: int | None = None,
    max_steps: int | None = None,
    max_time: float | None = None,
    cache: int = 1024,
    threads: int | None = None,
    fabric: "Fabric | None" = None,
    tensorboard: bool | None = None,
    details: Mapping[str, object] | None = None,
    progress: TrainingProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
    **settings: object,
) -> Trainable:
    """Train an explainer, or a surrogate, on pictures, with or without labels, and return it trained.

    The same call goes on where it was interrupted, however that was, and on a CPU ends with the same weights, bit for bit.
    What has ended is returned at once; with more ``epochs``, or more ``patience``, it goes on. The explained network is
    frozen and in eval mode at every step.

    Of an image that cannot be read a warning says so, and it is left out.

    Args:
        what: an explainer that learns, by its name; or "surrogate"; or one that you have made; or anything else that is
            ``Trainable``.
        classifier: the network that is explained.
        dataset: ``seewhy.dataset("folder", classifier)``, or any object like ``data.Dataset``.
        out: the run folder. It has the trained explainer, a log, sheets of masks, and the checkpoint.
        options: of the explainer, if it is given by its name.
        preset: settings that were published or found to work, by name (``seewhy list presets``), or a TOML file.
        validation: a dataset to validate on. By default a share of the images is held out (the setting ``held_out``, at most
            200 images). The weights with the lowest held-out loss are kept; without held-out images, the last ones.
        every: steps between two validations; an epoch by default.
        max_steps: stop after so many steps in all; the same call with more goes on.
        max_time: stop within so many seconds; the same call goes on.
        cache: megabytes in which images, and features of the frozen network, are kept, for all processes of a machine.
        threads: of PyTorch on the CPU; by default those that it has. Another number rounds otherwise.
        fabric: Lightning Fabric, launched: each process has its share of every batch.
        tensorboard: write TensorBoard's files too; by default if it is installed.
        details: more for ``training.json``, such as the command.
        progress: is called with what is done, how much of it is done, how much in all, and the terms of the loss.
        should_stop: is asked before every step; if it says yes, a checkpoint is written and the training ends.
        settings: fields of ``Settings``: epochs, batch_size, accumulation, optimizer, learning_rate, weight_decay, schedule,
            warmup_steps, clip, patience, precision, held_out, seed. They go before those of the preset, and these before the
            method's own. A step has ``batch_size`` x ``accumulation`` images, whatever the number of processes.

    Raises:
        SeewhyError: a setting or an option that does not exist; a dataset without the labels that the loss reads; ``out``
            belongs to another question or cannot be written; the loss becomes NaN; masks show nothing for a hundred steps;
            no image can be read; out of memory.
    """
    start = monotonic()
    must_be_classifier(classifier)
    _must_be_dataset(dataset)
    _check_numbers(every=every, max_steps=max_steps, threads=threads)
    tensorboard = must_have_tensorboard(tensorboard)
    chosen = read_preset(preset, what if isinstance(what, str) else "") if preset else None
    made = _made(what, classifier, {**(chosen.explainer if chosen else {}), **(options or {})})
    used = settings_with(settings_with(made.settings, chosen.training if chosen else {}), settings)
    made, network = _with_network(made, classifier, used.seed)
    together, folder = Together(fabric), TrainingFolder(Path(out))
    places, held_places, held_dataset = _parted(dataset, validation, used)
    order = order_of(used, len(places))
    asked: dict[str, Any] = {
        "method": {"name": method_name(made), "options": fields_as_json(made, ("classifier", "network"))},
        "network": weights_digest(network),
        "classifier": {**classifier_identity(classifier), "weights": weights_digest(classifier.module)},
        "dataset": _about(dataset),
        "validation": None if validation is None else _about(validation),
        "settings": {name: value for name, value in asdict(used).items() if name not in ("epochs", "patience")},
        "micro-batches": micro_batches(used, order.batch_size, together.world),
        "every": every or order.steps,
        "device": next(network.parameters()).device.type,
    }
    memory = cache * 2**20 // together.on_this_machine
    held_memory = int(memory * HELD_OUT_MEMORY)
    held_out = SeenImages(made, classifier, held_dataset, held_places, used.precision, held_memory)
    images = SeenImages(made, classifier, dataset, places, used.precision, memory - held_memory)
    optimizer = make_optimizer(used, [p for p in network.parameters() if p.requires_grad])
    with folder.locked() if together.rank == 0 else nullcontext():
        before = together.first_does(lambda: folder.opened(asked))
        state = before.state if before else TrainingState()
        around = {**environment(), "processes": together.world, **(details or {})}
        manifest = TrainingManifest(TRAINING_SCHEMA, asked, used.epochs, used.patience or 0, state, around)
        if before:
            folder.read(state.step, network, optimizer)
        monitor = monitor_of(made, used.seed)
        log = TrainingLog(folder.folder, tensorboard, MEASURES if monitor else ()) if together.rank == 0 else None
        deliver = partial(_deliver, made, network, folder, manifest)
        records = Records(folder, manifest, network, optimizer, log, [images, held_out], deliver)
        budget = TimeBudget(max_time, start)
        say, stop = progress or (lambda *_: None), should_stop or (lambda: False)
        loop = Loop(
            made, network, classifier, optimizer, used, images, held_out, records, together, budget, every, monitor,
            say, stop,
        )  # fmt: skip
        if before and loop.is_done():
            records.give_best()
            network.eval()
            return made
        if before and images.remembered.is_on:
            images.remembered.restore(folder.sets(state.step))
        _must_have_labels(made, images)
        _must_show_the_target(made, classifier, images)
        if log is not None:
            log.begin(state.step)
        with computing_threads(threads or max(1, torch.get_num_threads() // together.on_this_machine)):
            try:
                loop.run(max_steps)
            except SeewhyError as error:
                if together.rank:  # the first process may not know of it
                    raise ShareError(f"process {together.rank}: {error}") from None
                raise
    network.eval()
    return made


def _made(what: str | Trainable, classifier: Classifier, options: Mapping[str, object]) -> Trainable:
    """What is trained, as the name or the object says."""
    # by its name a new one is made, also where a trained one comes with the package
    made = build(registry_of(what), what, classifier, **options) if isinstance(what, str) else what
    if not isinstance(made, Trainable):
        name = what if isinstance(what, str) else type(what).__name__
        raise SeewhyError(
            f"{name} does not learn, so there is nothing to train. What learns: {', '.join(learned_methods())}"
        )
    if not isinstance(what, str) and options:
        raise SeewhyError(f"{type(what).__name__} has its options already: give options with a name alone")
    return made


def _with_network(made: Trainable, classifier: Classifier, seed: int) -> tuple[Trainable, nn.Module]:
    """What is trained, with a network of its own on the device of the classifier, and that network."""
    if made.network is None and isinstance(made, LearnedExplainer | SurrogateTraining):
        made = made.untrained(seed)
    elif is_dataclass(made):  # the caller's own network stays as it is
        made = cast(Trainable, replace(cast(Any, made), network=deepcopy(made.network)))
    network = made.network
    if network is None or not any(p.requires_grad for p in network.parameters()):
        raise SeewhyError(f"{type(made).__name__} has no network with weights that can be trained")
    device = next((p.device for p in classifier.module.parameters()), torch.device("cpu"))
    return made, network.to(device)


def _parted(dataset: Dataset, validation: Dataset | None, settings: Settings) -> tuple[list[int], list[int], Dataset]:
    """The images to train on, those that are held out, and the dataset of these."""
    if validation is None:
        return *split(dataset, settings.held_out, settings.seed), dataset
    _must_be_dataset(validation)
    return list(range(len(dataset))), list(range(len(validation))), validation


def _about(dataset: Dataset) -> dict[str, object]:
    """What makes two datasets the same."""
    options = fields_as_json(dataset, ("path", "classes", "view"))
    name, n = type(dataset).__name__.lower(), len(dataset)
    return {"name": name, **options, "images": f"{n} with the digest {dataset.digest(range(n))}"}


def _deliver(made: Trainable, network: nn.Module, folder: TrainingFolder, manifest: TrainingManifest) -> None:
    """Write the trained explainer, as it can be loaded."""
    if not isinstance(made, LearnedExplainer | SurrogateTraining):
        folder.write_model(weights_of(network))
        return
    state, asked = manifest.state, manifest.asked
    found = {"loss": state.best, **state.held_out, **state.measures, "after steps": state.best_step}
    best = {} if state.best is None else found
    card = {
        "data": asked["dataset"],
        "settings": {**asked["settings"], "epochs": manifest.epochs},
        "scores": best,
        "seconds": round(state.seconds, 1),
        "steps": state.step,
    }
    known = {key: value for key, value in card.items() if value}
    if isinstance(made, SurrogateTraining):
        save_surrogate(made.surrogate, made.classifier, folder.folder, known)
    else:
        save_explainer(made, folder.folder, known)


def _must_have_labels(made: Trainable, images: SeenImages) -> None:
    """SeewhyError where the loss reads labels that the dataset does not have, or where no image can be read."""
    if images.first_labels() is None and getattr(made, "needs_labels", False):
        kind = type(images.dataset).__name__.lower()
        raise SeewhyError(
            f"{method_name(made)} learns from labels, and the dataset {kind} has none: give a folder for each class, or a "
            "labels.csv, or choose a method or an option that needs no labels"
        )


def _must_show_the_target(made: Trainable, classifier: Classifier, images: SeenImages) -> None:
    """SeewhyError where one class is explained, and the labels of the dataset say that no picture shows it."""
    target, entries = getattr(made, "target", None), getattr(images.dataset, "entries", None)
    if target in (None, *TARGETS) or entries is None or classifier.returns_values:
        return
    labels = [entries[place].label for place in images.places]
    wanted = classifier.class_index(target)
    shown = {label for of in labels for label in (of if isinstance(of, tuple) else [of])}
    if shown != {None} and wanted not in shown:
        raise SeewhyError(
            f"{method_name(made)} explains {target!r}, and none of the {len(labels)} pictures has that label: give pictures "
            "of it, another target, or the pictures without labels"
        )


def _must_be_dataset(dataset: object) -> None:
    if not all(hasattr(dataset, name) for name in ("classes", "ids", "batch", "digest", "__len__")):
        what = repr(dataset) if isinstance(dataset, str | Path) else type(dataset).__name__
        raise SeewhyError(f'{what} is no dataset: give seewhy.dataset("folder", classifier), or an object like data.Dataset')
    if not len(cast(Dataset, dataset)):
        raise SeewhyError("the dataset is empty")


def _check_numbers(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is not None and not (is_held(number, int, ()) and number >= 1):
            raise SeewhyError(f"{name} is {repeated(number)}: give a whole number of at least 1")
