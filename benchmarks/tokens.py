"""What dropped tokens cost: training steps beside dense key masks, and SRG beside blanked pixels.

    python benchmarks/tokens.py [--weights FILE] [--sets 32] [--rounds 5] [--device cuda] [--only surrogate]

The first step is that of a surrogate: one set of uniform size for each image. The second has two complementary sets of each
image. On a CPU one thread and seconds of the processor, on a GPU seconds of the clock; the best of several rounds. The
contestants take turns in each round, so that a busy machine slows all of them alike.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from time import perf_counter, process_time

import timm
import torch
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import on_device
from seewhy.classifier.token_dropping import TokenDropping
from seewhy.masking.coalitions import uniform_sets
from seewhy.metrics import Case
from seewhy.metrics.base import metric


def best_of(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least seconds of each contestant; they take turns."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds + 1):  # the first round warms up, and is as good as another where it is the fastest
        for name, run in contestants.items():
            start = seconds()
            run()
            best[name] = min(best[name], seconds() - start)
    return best


def seconds() -> float:
    """Of the processor; with a GPU that has done all of its work, of the clock."""
    if not torch.cuda.is_initialized():
        return process_time()
    torch.cuda.synchronize()
    return perf_counter()


def complementary(n: int, patches: int) -> Tensor:
    """n sets of patches whose sizes are uniform from none to all; the second half has the complements of the first."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(0, patches + 1, (n // 2, 1), generator=generator)
    kept = torch.rand(n // 2, patches, generator=generator).argsort(1).argsort(1) < sizes
    return torch.cat([kept, ~kept])


def dense(classifier: Classifier, images: Tensor, kept: Tensor, rows: Tensor) -> Tensor:
    """Every token runs, and the keys of removed patches are masked: what ViT-Shapley does."""
    vit = classifier.module
    tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(classifier.normalize(images)))))[rows]
    mask = torch.cat([kept.new_ones(len(kept), 1), kept], 1)[:, None, None]
    for block in vit.blocks:
        tokens = block(tokens, attn_mask=mask)
    return vit.forward_head(vit.norm(tokens))


def dropped(classifier: Classifier, how: TokenDropping, images: Tensor, kept: Tensor, rows: Tensor) -> Tensor:
    classifier.__dict__["_token_dropping"] = how
    return classifier.kept_logits(images, kept, rows)


def training(classifier: Classifier, sets: int, rounds: int, of_surrogate: bool) -> None:
    found = classifier.token_dropping
    ways = {"packed": found, "grouped": replace(found, way="grouped"), "equal": replace(found, way="grouped", mask=None)}
    n = sets if of_surrogate else sets // 2
    kept = uniform_sets(sets, 196, torch.Generator().manual_seed(0)) if of_surrogate else complementary(sets, 196)
    images = classifier.to_device(torch.rand(n, 3, 224, 224))
    kept, rows = kept.to(images.device), torch.arange(sets, device=images.device) % n
    networks = {"dense": partial(dense, classifier), **{n: partial(dropped, classifier, way) for n, way in ways.items()}}

    def step(network: Callable[..., Tensor]) -> None:
        classifier.module.zero_grad(set_to_none=True)
        network(images, kept, rows).square().mean().backward()

    best = best_of({name: partial(step, network) for name, network in networks.items()}, rounds)
    classifier.__dict__["_token_dropping"] = found
    for name, took in best.items():
        step_of = "a surrogate" if of_surrogate else "pairs of sets"
        print(f"training step of {step_of}, {sets} sets, {name:8} {took:7.3f} s   {best['dense'] / took:.2f} times dense")


def srg(classifier: Classifier, n: int, rounds: int) -> None:
    images, maps = (classifier.to_device(torch.rand(n, *size, 224, 224)) for size in ((3,), ()))
    classes = torch.zeros(n, dtype=torch.long, device=images.device)

    def score(removal: str) -> None:
        metric("srg", removal=removal).score(Case(classifier, images, classes, classes, maps))

    best = best_of({removal: partial(score, removal) for removal in ("pixels", "tokens")}, rounds)
    for removal, took in best.items():
        print(f"SRG of 196 patches, {n} images, {removal:6} {took:7.2f} s   {took / best['pixels']:.2f} of blanking")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights")
    parser.add_argument("--sets", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=["surrogate"], help="the step of a surrogate alone")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random = Classifier(timm.create_model("vit_tiny_patch16_224").eval(), outputs="logits")
    vit = seewhy.load("vit_tiny_patch16_224", weights=asked.weights) if asked.weights else random
    on_device(vit, asked.device)
    training(vit, asked.sets, asked.rounds, of_surrogate=True)
    if asked.only is None:
        training(vit, asked.sets, asked.rounds, of_surrogate=False)
        for images in (1, 4):
            srg(vit, images, max(1, asked.rounds // 3))
