"""Images that are held out of a training: which, their loss, and a sheet of their masks."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from seewhy.data import Dataset
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError
from seewhy.explanation.sheet import Panel, sheet
from seewhy.training.order import generator_of

MOST_HELD_OUT = 200
"""Images, unless a dataset of its own is given."""
SHOWN_IMAGES, SHOWN_MASKS = 8, 3
"""Of a sheet of masks."""


def split(dataset: Dataset, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places in the dataset to train on, and places that are held out, each in order.

    Pictures of one group, such as a patient, stay together.

    Args:
        dataset: any.
        share: of the images that are held out, from 0 to below 1; at most ``MOST_HELD_OUT`` images.
        seed: of the choice.
    """
    n = len(dataset)
    wanted = min(round(share * n), MOST_HELD_OUT)
    wanted = max(wanted, 1) if share > 0 else 0
    groups: dict[str, list[int]] = {}
    entries = getattr(dataset, "entries", ())
    for place in range(n):
        group = getattr(entries[place], "group", "") if len(entries) == n else ""
        groups.setdefault(group or f"\0{place}", []).append(place)
    names, held = list(groups), list[int]()
    for i in torch.randperm(len(names), generator=generator_of(seed, "held out")).tolist():
        if len(held) >= wanted:
            break
        held += groups[names[i]]
    kept = sorted({*range(n)} - {*held})
    if not kept:
        raise SeewhyError(f"{n} images of one group cannot be held out in part: give --held-out 0, or another dataset")
    return kept, sorted(held)


def mask_sheet(images: Tensor, masks: Tensor, title: str) -> Image.Image:
    """Pictures, and beside each its masks: white is 1, black is 0, and nothing is rescaled.

    Args:
        images: (n, c, h, w) in [0, 1].
        masks: (n, m, h, w) in [0, 1].
        title: above them.
    """
    rows: list[Sequence[Panel]] = []
    for image, own in zip(images[:SHOWN_IMAGES].cpu(), masks[:SHOWN_IMAGES].float().cpu(), strict=True):
        shown = [Panel(to_picture(mask[None]), f"mean {float(mask.mean()):.3f}") for mask in own[:SHOWN_MASKS]]
        rows.append([Panel(to_picture(image)), *shown])
    pairs = [[*rows[i], *(rows[i + 1] if i + 1 < len(rows) else ())] for i in range(0, len(rows), 2)]
    return sheet(pairs, title, keys=())
