"""``seewhy fit``: an explainer that learns, or a surrogate, is trained on pictures; a run folder out."""

import sys
import warnings
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from seewhy.app.cli.arguments import ClassNames, Device, ModelName, ModelOptions, Quiet, Templates, Texts, WeightsFile
from seewhy.app.cli.network import OF_DATASET, load_network, texts_of_dataset
from seewhy.app.cli.progress import TrainingBar, in_terms, progress_bar
from seewhy.app.cli.stop import going_on_in, noted
from seewhy.app.cli.terminal import say
from seewhy.app.cli.workers import one_voice, shared_out
from seewhy.options import LARGEST, from_text, pairs

WHY = {"steps": "--max-steps", "time": "--max-time", "stop": "a signal"}
"""What ended a training that goes on, in words."""


def fit(
    method: Annotated[str, typer.Argument(help="An explainer that learns: nemt, nn_explainer, ...; or surrogate.")],
    model: ModelName,
    data: Annotated[str, typer.Option(help="Pictures to learn from: shapes, folder:PATH or voc:PATH, or a path.")],
    out: Annotated[Path, typer.Option(help="Run folder, in which the explainer is; the same command goes on in it.")],
    weights: WeightsFile = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    texts: Texts = None,
    template: Templates = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the method.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Published settings, by name (seewhy list presets) or a TOML file of yours.")
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", help="key=value: an option of the dataset, such as seed=1.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=LARGEST, help="Learn from N images, spread evenly.")] = None,
    validation: Annotated[
        str | None, typer.Option(help="A dataset to validate on; by default a share of --data is held out.")
    ] = None,
    held_out: Annotated[float | None, typer.Option("--held-out", help="That share; 0 for no validation.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Steps between two validations; an epoch by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="So often each image is seen.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Images that are run at a time.")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Batches of a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw or prodigy.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="The highest one; 1 for prodigy.")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="Decoupled, but for adam.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or one_cycle.")] = None,
    warmup_steps: Annotated[int | None, typer.Option("--warmup-steps", help="Steps in which the rate rises.")] = None,
    clip: Annotated[float | None, typer.Option(help="Longest gradient; 0 clips nothing.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many validations without a lower loss; 0 never does.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, or bf16, which some hardware runs much faster.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first weights, the order of images and all draws.")] = None,
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Stop after N steps in all; more go on.")
    ] = None,
    max_time: Annotated[
        str | None, typer.Option("--max-time", help="Stop within 90s, 10m, 1.5h; the same command goes on.")
    ] = None,
    cache: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Megabytes for images and features of the frozen network.")
    ] = 1024,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard/--no-tensorboard", help="TensorBoard's files; if installed by default.")
    ] = None,
    devices: Annotated[int, typer.Option(min=1, help="Processes, each with a device and a share of every batch.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each process on a CPU; all by default.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, as Lightning Fabric says.")] = 1,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Train an explainer that learns, for a classifier and on pictures with or without labels; it goes on if interrupted."""
    start = monotonic()
    from seewhy.classifier.outputs import OutputsWarning
    from seewhy.data.named import dataset as named_dataset
    from seewhy.masking.surrogate import is_surrogate
    from seewhy.training.fit import fit as run
    from seewhy.training.methods import registry_of
    from seewhy.training.time_budget import seconds_in
    from seewhy.training.training_folder import read_training

    warnings.simplefilter("ignore", OutputsWarning)
    options = from_text(registry_of(method)[method], pairs(option or []))
    seconds = None if max_time is None else seconds_in(max_time)
    given = {
        **{"epochs": epochs, "batch_size": batch_size, "accumulation": accumulation, "optimizer": optimizer},
        **{"learning_rate": learning_rate, "weight_decay": weight_decay, "schedule": schedule, "clip": clip, "seed": seed},
        **{"warmup_steps": warmup_steps, "patience": patience, "precision": precision, "held_out": held_out},
    }
    settings = {name: value for name, value in given.items() if value is not None}
    fabric = shared_out(devices, nodes, device, out)
    first = fabric is None or fabric.global_rank == 0
    with going_on_in(out), one_voice(fabric, out):
        if texts == [OF_DATASET]:
            texts = texts_of_dataset(data, pairs(data_option or []))
        place = str(fabric.device) if fabric else device
        classifier = load_network(model, weights, classes, model_option, place, texts=texts, template=template)
        dataset = named_dataset(data, classifier, limit, pairs(data_option or []))
        held = named_dataset(validation, classifier) if validation is not None else None
        before = read_training(out)
        with noted() as told, progress_bar(quiet or not first) as bar:
            run(
                method,
                classifier,
                dataset,
                out,
                options=options,
                preset=preset,
                validation=held,
                every=every,
                max_steps=max_steps,
                max_time=None if seconds is None else seconds - (monotonic() - start),
                cache=cache,
                threads=threads,
                fabric=fabric,
                tensorboard=tensorboard,
                details={"command": sys.argv[1:], "model": model, "data": data, "device": device},
                progress=TrainingBar(bar),
                should_stop=lambda: bool(told),
                **settings,
            )
        if told:
            raise told[0]
    done = read_training(out)
    if not first or quiet or done is None:
        return
    state = done.state
    if state.held_out:
        say(f"held-out loss {state.best:.4g} = {in_terms(state.held_out)}, after {state.best_step} of {state.step} steps")
    if state.left_out:
        say(f"{len(state.left_out)} images could not be read; training.json names them", err=True)
    if state.ended in WHY:
        say(f"ended after {state.step} steps by {WHY[state.ended]}; the same command without it goes on in {out}")
    elif before is not None and before.state.step == state.step:
        say(f"the training in {out} was finished before; with more --epochs it goes on")
    if is_surrogate(out):
        say(f"the surrogate in {out}: seewhy evaluate --model {model} --surrogate {out} ...")
    else:
        say(f"the explainer in {out}: seewhy explain PICTURE --model {model} --explainer {out}")
