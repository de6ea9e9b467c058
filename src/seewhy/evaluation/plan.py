"""All the work of an evaluation, in pieces that do not depend on who does them: resumed, shared out, or in one go."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from seewhy.errors import SeewhyError
from seewhy.evaluation.question import Asked, Facts, Failure, Question
from seewhy.evaluation.store import RunFolder
from seewhy.evaluation.tables import Record
from seewhy.evaluation.unit import Unit, measured, said
from seewhy.metrics import Metric

MANY = 16
"""So many failures of one method, without a success, are no longer the fault of images."""
Progress = Callable[[float, int, int], None]
"""Is told how many images are done, of how many, and how many failed."""


@dataclass(frozen=True)
class Work:
    """All that is to be done, in batches of images that are always the same: see ``evaluate``.

    images   places in the dataset
    """

    question: Question
    metrics: Mapping[str, Metric]
    images: list[int]
    limits: Mapping[str, int]
    pictures: int
    keep_maps: bool
    threads: int
    progress: Progress | None

    def run(self, append: Callable[[Record], None], folder: RunFolder | None, rank: int, world: int) -> None:
        """Do the share of one process: of the batches that are not done yet."""
        size, order = self.question.batch_size, spread_order(len(self.images))
        place = {index: order[i] for i, index in enumerate(self.images)}
        n_batches = -(-len(self.images) // size)
        numbers = range(rank * n_batches // world, (rank + 1) * n_batches // world)  # in one piece: limits are spread evenly
        share = {number: self.images[number * size : (number + 1) * size] for number in numbers}
        missing = {number: self._missing(number, images, place, folder) for number, images in share.items()}
        left = [n for n in share if any(missing[n].values()) or (folder and folder.unsettled(n, share[n]))]
        total, failed = sum(map(len, share.values())), 0
        before = float(total - sum(len(share[number]) for number in left))
        luck: dict[bool, Counter[tuple[str, str]]] = {True: Counter(), False: Counter()}
        self._tell(before, total, failed)
        with _threads(self.threads):
            for number in left:
                images = share[number]
                for i, record in enumerate(self._batch(number, images, place, missing[number], folder)):
                    append(record)
                    failed += len(record.content.failures)
                    self._tell(before + len(images) * i / len(self.question.methods), total, failed)
                    _give_up(record.content, luck)
                before += len(images)
                self._tell(before, total, failed)

    def _missing(
        self,
        number: int,
        images: list[int],
        place: Mapping[int, int],
        folder: RunFolder | None,
        mended: Collection[int] = (),
    ) -> dict[str, dict[str, Metric]]:
        """For each explainer the metrics that are asked for an image of the batch and that it does not have yet.

        Of a batch with images that are ``mended`` it has those that these images were there for.
        """
        found = {}
        for name in self.question.methods:
            has, wanted = folder.has(number, name) if folder else set(), self._wanted(place, name)
            rows = folder.done.get((number, name), {}) if folder else {}
            asking = (m for m in self.metrics if any(wanted(m, index) for index in images))
            found[name] = {
                m: self.metrics[m]
                for m in asking
                if m not in has or any(index not in rows.get(m, ()) for index in mended if wanted(m, index))
            }
        return found

    def _tell(self, done: float, total: int, failed: int) -> None:
        if self.progress:
            self.progress(done, total, failed)

    def _batch(
        self,
        number: int,
        images: list[int],
        place: Mapping[int, int],
        missing: Mapping[str, dict[str, Metric]],
        folder: RunFolder | None,
    ) -> Iterator[Record]:
        """The records that a batch lacks: what is known of its images, and a unit for each explainer."""
        facts, asked = self._asked_of(images)
        unread = folder.unread.intersection(images) if folder else set()
        mended = unread - {failure.index for failure in facts.failures}
        if mended:  # the whole batch again: its numbers are those of a folder in which nothing ever failed
            missing = self._missing(number, images, place, folder, mended.intersection(asked.index if asked else ()))
        elif unread and not any(missing.values()):
            return
        news = [] if folder and folder.knows(number) and not mended else [Record(number, facts)]
        for name, metrics in missing.items():
            mine = self._within(asked, name, metrics, place) if asked and metrics else None
            if mine is None or not mine.index:
                continue
            kept = folder.kept(number, name, mine) if folder else None
            unit, maps = measured(self.question, mine, name, metrics, self._wanted(place, name), kept)
            if folder and maps is not None:
                shown = [i for i, index in enumerate(mine.index) if place[index] < self.pictures]
                if shown:
                    folder.picture(number, name, mine.rows(shown), maps[shown])
                if self.keep_maps and kept is None:
                    folder.keep(number, name, mine, maps)
            yield from news  # not before something was measured: a mistake in what was asked leaves nothing behind
            news = []
            yield Record(number, unit)
        yield from news

    def _asked_of(self, images: list[int]) -> tuple[Facts, Asked | None]:
        """Read and classify; where the batch cannot be read, each image that can."""
        dataset, unread = self.question.dataset, list[Failure]()
        try:
            found = dataset.batch(images)
        except Exception:
            for index in images:
                try:
                    dataset.batch([index])
                except Exception as error:
                    unread.append(Failure(index, dataset.ids[index], "", "", said(error)))
            bad = {failure.index for failure in unread}
            images = [index for index in images if index not in bad]
            if not images:
                return Facts([], [], [], [], [], [], unread), None
            found = dataset.batch(images)
        facts, asked = self.question.ask(found, images)
        return replace(facts, failures=[*unread, *facts.failures]), asked

    def _within(self, asked: Asked, name: str, metrics: Mapping[str, Metric], place: Mapping[int, int]) -> Asked:
        """The rows that a metric is asked for, or all within the explainer's limit if the maps are kept."""
        wanted, limit = self._wanted(place, name), self.limits.get(name, len(place))
        whole = self.keep_maps
        keep = [(whole and place[i] < limit) or any(wanted(metric, i) for metric in metrics) for i in asked.index]
        return asked if all(keep) else asked.rows([i for i, fine in enumerate(keep) if fine])

    def _wanted(self, place: Mapping[int, int], explainer: str) -> Callable[[str, int], bool]:
        """Is an image within the limits of an explainer and a metric?"""
        most = min(len(place), self.limits.get(explainer, len(place)))
        limits = {m: min(most, *(self.limits.get(key, most) for key in (m, f"{explainer}/{m}"))) for m in self.metrics}
        return lambda name, index: place[index] < limits[name]


def spread_order(n: int) -> list[int]:
    """The rank of each of n places: the first few ranks are spread evenly, for any few (van der Corput's sequence)."""
    bits = max(1, (n - 1).bit_length())
    order = sorted(range(n), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    ranks = [0] * n
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Sums are rounded by how they are shared out: with as many threads everywhere the numbers are the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _give_up(content: Facts | Unit, luck: Mapping[bool, Counter[tuple[str, str]]]) -> None:
    """Stop where a method has failed on many images, and on no image succeeded."""
    good, bad = luck[True], luck[False]
    if isinstance(content, Unit):
        good.update((content.explainer, name) for name, rows in content.values.items() for row in rows if row is not None)
        good[content.explainer, ""] += sum(
            any(rows[i] for rows in content.values.values()) for i in range(len(content.index))
        )
    else:
        good["", ""] += len(content.index)
    for failure in content.failures:
        key = failure.explainer, failure.metric
        bad[key] += 1
        if bad[key] >= MANY and not good[key]:
            what = " of ".join(part for part in reversed(key) if part) or "reading"
            raise SeewhyError(f"{what} failed on {bad[key]} images and worked on none; {failure.image_id}: {failure.error}")
