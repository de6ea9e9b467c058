"""The sets of players that a training has asked for, and their values: they are used again in every later epoch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from seewhy.explainers.learned.learned_explainer import ValuedSets

Known = tuple[Tensor, Tensor]
"""Of one image: its sets as bits (m, bytes), and their logits (m, k)."""


class RememberedSets:
    """The last sets of each image, as many as memory allows for; all images have equal shares of it.

    Nothing here depends on when a training was interrupted: what is restored is what there was, in the same order.

    Args:
        memory: bytes that may be used; 0 remembers nothing.
        images: of the training.
    """

    def __init__(self, memory: int, images: int) -> None:
        self._share, self._players = memory // max(images, 1), 0
        self._known: dict[int, Known] = {}

    @property
    def is_on(self) -> bool:
        return self._share > 0

    def add(self, places: Sequence[int], sets: ValuedSets) -> None:
        """Remember the sets of the images at these places in the dataset; the oldest ones make room."""
        kept, logits = sets.kept.cpu(), sets.logits.detach().float().cpu()
        self._players = kept.shape[2]
        bits = torch.from_numpy(np.packbits(kept.numpy(), axis=2))
        most = self._share // (bits.shape[2] + 4 * logits.shape[2])
        if most == 0:
            return
        for place, *new in zip(places, bits, logits, strict=True):
            before = self._known.get(place, (new[0][:0], new[1][:0]))
            of_place = [torch.cat(pair)[-most:].clone() for pair in zip(before, new, strict=True)]
            self._known[place] = (of_place[0], of_place[1])

    def of(self, places: Sequence[int], device: torch.device) -> ValuedSets | None:
        """The sets of these images; None where there are none of any."""
        known = [self._known.get(place) for place in places]
        counts = torch.tensor([0 if one is None else len(one[0]) for one in known])
        if not int(counts.sum()):
            return None
        there = torch.arange(int(counts.max())) < counts[:, None]
        bits = torch.cat([one[0] for one in known if one is not None])
        values = torch.cat([one[1] for one in known if one is not None])
        kept = torch.zeros(*there.shape, self._players, dtype=torch.bool)
        kept[there] = torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=self._players)).bool()
        logits = torch.zeros(*there.shape, values.shape[1])
        logits[there] = values
        return ValuedSets(kept.to(device), logits.to(device), there.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, as a checkpoint keeps it."""
        places = sorted(self._known)
        found = {"players": torch.tensor(self._players), "places": torch.tensor(places, dtype=torch.long)}
        if places:
            found["counts"] = torch.tensor([len(self._known[place][0]) for place in places])
            found["bits"] = torch.cat([self._known[place][0] for place in places])
            found["logits"] = torch.cat([self._known[place][1] for place in places])
        return found

    def restore(self, found: dict[str, Tensor]) -> None:
        """What ``tensors`` gave."""
        self._players = int(found["players"])
        places = found["places"].tolist()
        if places:
            counts = found["counts"].tolist()
            pairs = zip(found["bits"].split(counts), found["logits"].split(counts), strict=True)
            self._known = {place: (a.clone(), b.clone()) for place, (a, b) in zip(places, pairs, strict=True)}
