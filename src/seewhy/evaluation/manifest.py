"""The manifest of a run folder, and what makes two evaluations comparable."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from seewhy.describe import difference
from seewhy.errors import SeewhyError
from seewhy.evaluation.failures import Failure
from seewhy.files import write_json
from seewhy.json_files import read_json, typed
from seewhy.options import AtLeast

SCHEMA = 3
"""Version of the run folder. A folder of another version is neither read nor changed."""
MANIFEST = "manifest.json"
MAX_NAME_BYTES = 160
"""Of the name of an explainer. File systems take 255 bytes, and the names of files add to it."""

Count = Annotated[int, AtLeast(0)]
Positive = Annotated[int, AtLeast(1)]
Duration = Annotated[float, AtLeast(0)]


@dataclass(frozen=True)
class Identity:
    """What makes the numbers of two evaluations comparable. A run folder has the numbers of one identity.

    classifier   its kind, its preprocessing and its classes
    weights      digest of its weights and buffers
    dataset      its name and its options, but for its path
    images       how many, and a digest of their names
    device       "cpu", "cuda"
    surrogate    the value function that metrics have in the place of their own: its kind, options and weights; empty without
    the others   as in ``seewhy.evaluate``
    """

    classifier: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    dataset: dict[str, Any] = field(default_factory=dict)
    images: str = ""
    device: str = ""
    target: str = ""
    scored: str = ""
    only: str = "all"
    map_classes: list[Count] | None = None
    batch_size: Positive | None = None
    threads: Positive | None = None
    seed: Count | None = None
    surrogate: dict[str, Any] = field(default_factory=dict)

    def difference(self, now: "Identity") -> str | None:
        """The first field in which the two differ, with both values; None if they are the same."""
        return None if self == now else difference("", asdict(self), asdict(now))


@dataclass(frozen=True)
class AboutExplainer:
    """An explainer of a run. ``limit``: images, if not all; ``limits``: images of single metrics."""

    method: str
    family: str
    options: dict[str, Any]
    class_specific: bool = True
    paper: str = ""
    limit: Count | None = None
    limits: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True)
class AboutMetric:
    """A metric of a run. ``range``: None for no end; ``axes``: None for no curve; ``explains``: the class in its paper."""

    metric: str
    family: str
    higher_is_better: bool | None
    options: dict[str, Any]
    range: list[float | None] = field(default_factory=list)
    reads: str = ""
    explains: str = ""
    paper: str = ""
    axes: list[str] | None = None
    limit: Count | None = None


@dataclass(frozen=True)
class WorkTime:
    """Seconds of work, summed over all processes and commands: maps by explainer, scores by metric."""

    explainers: dict[str, Duration] = field(default_factory=dict)
    metrics: dict[str, Duration] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """What a run folder says of itself: see docs/reference/run-folder.md.

    images   how many images were asked for
    grown    how many were asked for before, each time that a larger limit was given
    limits   for each explainer and metric the number of images that were asked for
    shards   the number of shares into which the last command with ``shard`` has cut the work
    curves   for each metric with curves the places of their values
    rows     lines of scores.parquet
    details  what the caller of ``seewhy.evaluate`` has added
    history  a line for each command that has finished the folder
    """

    schema: int
    complete: bool
    asked: Identity
    explainers: dict[str, AboutExplainer] = field(default_factory=dict)
    metrics: dict[str, AboutMetric] = field(default_factory=dict)
    limits: dict[str, dict[str, Count]] = field(default_factory=dict)
    images: Count | None = None
    grown: list[Count] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    shards: Positive = 1
    rows: Count = 0
    failures: list[Failure] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    seconds: WorkTime = field(default_factory=WorkTime)
    versions: dict[str, str] = field(default_factory=dict)
    hardware: str = ""
    wall_seconds: Duration | None = None
    processes: Positive = 1
    details: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def joined(self, folder: Path, first: Callable[[int], str] | None = None) -> "Manifest":
        """This manifest, and what the folder has been asked before; SeewhyError where these do not go together.

        Args:
            folder: the run folder.
            first: what ``Identity.images`` is of so many images in the order in which limits take them. If the folder has
                the first of the images that are asked for now, it grows.
        """
        before = read_manifest(folder)
        if before is None:
            return self
        had, wanted = before.images or 0, self.images or 0
        fewer = first is not None and 0 < had < wanted and first(had) == before.asked.images
        grows = first is not None and fewer and first(wanted) == self.asked.images
        counts = ("n",) if had != wanted else ()  # a dataset that is made to a size
        asked = replace(
            before.asked,
            images=self.asked.images if grows else before.asked.images,
            dataset=before.asked.dataset | {name: self.asked.dataset[name] for name in counts if name in self.asked.dataset},
        )
        if (change := asked.difference(self.asked)) is not None:
            same = asked.difference(replace(self.asked, images=asked.images)) is None
            if same and had > wanted > 0:
                cure = f"give limit {had}, or another folder for {wanted}"
                raise SeewhyError(f"{folder} has {had} images, and a run folder only grows: {cure}")
            if same and fewer:
                raise SeewhyError(f"{folder} has {had} of these {wanted} images: give limit {wanted} to add the others")
            raise SeewhyError(f"{folder} has a run of another question ({change}): give another folder")
        for there, now in ((before.explainers, self.explainers), (before.metrics, self.metrics)):
            for name in there.keys() & now.keys():
                if _without_limits(there[name]) != _without_limits(now[name]):
                    raise SeewhyError(f"{folder} has {name} with other options: give another folder, or {name} another name")
        explainers = {**before.explainers, **self.explainers}
        for name in before.explainers.keys() & self.explainers.keys():
            limits = before.explainers[name].limits | self.explainers[name].limits
            explainers[name] = replace(self.explainers[name], limits=limits)
        return replace(
            self,
            explainers=explainers,
            metrics={**before.metrics, **self.metrics},
            grown=[*before.grown, *([had] if grows else [])],
            limits={e: before.limits.get(e, {}) | self.limits.get(e, {}) for e in explainers},
            history=before.history,
        )

    def as_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return asdict(self)

    def write(self, folder: Path) -> None:
        write_json(folder / MANIFEST, self.as_json())


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a run folder; None if there is none, SeewhyError if it is damaged or of another version."""
    file = folder / MANIFEST
    try:
        found = read_json(file)
        schema = found.get("schema") if isinstance(found, dict) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SeewhyError(f"{file} cannot be read ({error}): give another folder") from None
    if isinstance(found, dict) and "explanations" in found:
        raise SeewhyError(f"{folder} was written by seewhy explain: give a run folder, which seewhy evaluate --out writes")
    if schema != SCHEMA or "asked" not in found:
        what = f"schema {schema}, this version reads {SCHEMA}" if schema != SCHEMA else "it is no evaluation"
        raise SeewhyError(f"{folder} was written by another version or command ({what}): give another folder")
    try:
        manifest: Manifest = typed(Manifest, found, "the manifest")
        _check(manifest)
    except ValueError as error:
        raise SeewhyError(f"{file} is damaged ({error}): give another folder") from None
    return manifest


def _check(manifest: Manifest) -> None:
    """ValueError where parts of the manifest do not go together, so that no reader can rely on it."""
    explainers, metrics = manifest.explainers, manifest.metrics
    if odd := [name for name in explainers if not is_folder_name(name)]:
        raise ValueError(f"explainers has {odd[0]!r}")
    named = {"limits": {*manifest.limits} - {*explainers}, "curves": {*manifest.curves} - {*metrics}}
    named |= {f"limits's {name}": {*of} - {*metrics} for name, of in manifest.limits.items()}
    if unknown := [f"{what} has {min(names)!r}" for what, names in named.items() if names]:
        raise ValueError(f"{unknown[0]}, which it does not describe")
    for name, about in metrics.items():
        if len(about.range) not in (0, 2) or (about.axes is not None and len(about.axes) != 2):
            raise ValueError(f"{name} has a range or axes that are no pair")


def is_folder_name(name: str) -> bool:
    """Can an explainer be called so? Its name becomes that of folders and files."""
    odd = any(letter in "/\\" or not letter.isprintable() for letter in name)
    return name not in ("", ".", "..") and not odd and len(name.encode()) <= MAX_NAME_BYTES


def _without_limits(about: AboutExplainer | AboutMetric) -> dict[str, Any]:
    return {name: value for name, value in asdict(about).items() if name not in ("limit", "limits")}
