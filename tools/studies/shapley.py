"""The error of Kernel SHAP's two draws of coalitions against exact Shapley values, at equal numbers of calls.

    python tools/studies/shapley.py --games --network shapes --repetitions 30
    python tools/studies/shapley.py --network vit_tiny_patch16_224 --weights FILE --pictures FILE... --players 12

A game is first asked for all 2^p coalitions, so that its Shapley values are known and every later call is a look-up. The
calls are different coalitions, besides the empty and the full one. The kernel draw repeats some, and draws until it has as
many different ones. An error is the mean squared error over players, divided by the variance of the exact values over the
players; its mean over repetitions and games, with half of its 95 % interval. The ratio is the geometric mean over games of
the error of leverage over that of kernel, with its 95 % interval over repetitions: below 1, leverage is better.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from math import exp
from pathlib import Path

import torch
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explainers.perturbation.kernel_shap import KernelShap, all_coalitions, leverage_coalitions, sample_coalitions
from seewhy.explanation.prepare import prepare
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players, divide
from seewhy.masking.values import removal_game

Table = Tensor
"""The values of all 2^p coalitions, by the number whose binary digits are the players."""


def number(kept: Tensor) -> Tensor:
    """The row of each coalition in the table of a game."""
    return (kept.long() << torch.arange(kept.shape[1])).sum(1)


def solved(method: KernelShap, kept: Tensor, weights: Tensor, table: Table) -> Tensor:
    """What ``kernel_shap`` makes of these coalitions of the game."""
    ends = torch.tensor([[False], [True]]).expand(2, kept.shape[1])
    kept, weights = torch.cat([ends, kept]), torch.cat([weights.new_zeros(2), weights])
    return method.solved(kept, weights, table[number(kept)][:, None])[:, 0]


def leverage(p: int, calls: int, seed: int) -> tuple[Tensor, Tensor]:
    return leverage_coalitions(p, calls // 2, seed)


def kernel(p: int, calls: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs by the Shapley kernel, until as many different coalitions have been drawn; a repeated one weighs more."""
    pairs = 40 * calls
    first, second = sample_coalitions(p, pairs, seed)[0].split(pairs)
    seen: set[int] = set()
    for used, pair in enumerate(zip(number(first).tolist(), number(second).tolist(), strict=True)):
        if len(seen | set(pair)) > calls:
            return torch.cat([first[:used], second[:used]]), torch.ones(2 * used, dtype=torch.float64)
        seen.update(pair)
    raise SeewhyError(f"{pairs} pairs had no more than {calls} different coalitions: ask for fewer calls")


DRAWS: dict[str, Callable[[int, int, int], tuple[Tensor, Tensor]]] = {"leverage": leverage, "kernel": kernel}


# -- games ------------------------------------------------------------------------------------------------------------


def known_games(p: int) -> Iterator[tuple[str, Table]]:
    """Games whose values are written down: sums, sums of pairs, a threshold, a saturating sum, and pure noise."""
    generator = torch.Generator().manual_seed(p)
    all_ = (torch.arange(2**p)[:, None] >> torch.arange(p)) % 2 == 1
    worth = torch.randn(p, generator=generator, dtype=torch.float64)
    pairs = torch.randn(p, p, generator=generator, dtype=torch.float64) / p**0.5
    kept = all_.double()
    yield "pairs", kept @ worth + ((kept @ pairs) * kept).sum(1)
    yield "saturating", (kept @ worth.abs() - worth.abs().sum() / 3).sigmoid()
    yield "threshold", (kept @ worth > worth.sum() / 2).double()
    yield "noise", torch.randn(2**p, generator=generator, dtype=torch.float64) + 2 * (kept @ worth)


def picture_games(
    classifier: Classifier, images: Tensor, p: int, superpixels: bool, precision: str
) -> Iterator[tuple[str, Table]]:
    """The logit of the predicted class, while p cells, or about p superpixels, are removed."""
    removed = baseline_images("mean_color", classifier, images)
    for i in range(len(images)):
        players = divide(images[i : i + 1], "superpixels", p) if superpixels else cells(images, p)
        game = removal_game(classifier, images[i : i + 1], removed[i : i + 1], players)
        kept = (torch.arange(2**players.p)[:, None] >> torch.arange(players.p)) % 2 == 1
        with classifier.running("bf16" if precision == "bf16" else "fp32"):
            target = int(classifier.logits(images[i : i + 1]).argmax())
            parts = [game(torch.zeros(len(some), dtype=torch.long), some)[:, target] for some in kept.split(32)]
        yield f"picture {i}", torch.cat(parts).double()


def cells(images: Tensor, p: int) -> Players:
    """A grid of p equal cells, as square as p allows: 12 players are 3 rows of 4."""
    down = max(d for d in range(1, p + 1) if p % d == 0 and d * d <= p)
    h, w = images.shape[-2:]
    ids = (torch.arange(h) * down // h)[:, None] * (p // down) + torch.arange(w) * (p // down) // w
    return Players(ids[None], torch.tensor([p]))


# -- errors -----------------------------------------------------------------------------------------------------------


def errors(method: KernelShap, table: Table, calls: int, repetitions: int) -> dict[str, Tensor]:
    """(repetitions,) the relative mean squared error of each draw."""
    p = (len(table) - 1).bit_length()
    exact = solved(method, *all_coalitions(p), table)
    scale = (exact - exact.mean()).square().mean()
    return {
        name: torch.stack(
            [(solved(method, *draw(p, calls, seed), table) - exact).square().mean() / scale for seed in range(repetitions)]
        )
        for name, draw in DRAWS.items()
    }


def report(method: KernelShap, kind: str, tables: Sequence[Table], repetitions: int) -> None:
    """A line for each number of calls: the errors of both draws, and the mean of their ratio with its interval."""
    players = sorted({(len(table) - 1).bit_length() for table in tables})
    for factor in (2, 5, 10, 20, 40):
        found: dict[str, list[Tensor]] = {name: [] for name in DRAWS}
        for table in tables:
            p = (len(table) - 1).bit_length()
            if factor * p + 2 >= 2**p - 2:
                continue
            for name, some in errors(method, table, factor * p // 2 * 2, repetitions).items():
                found[name].append(some)
        if not found["kernel"]:
            continue
        both = {name: torch.cat(parts) for name, parts in found.items()}
        means = [
            f"{x.mean():.3g} ± {1.96 * x.std() / len(x) ** 0.5:.1g}" if x.mean() > 1e-20 else "exact" for x in both.values()
        ]
        ratio = "" if "exact" in means else ratio_of(found["leverage"], found["kernel"])
        print(f"| {kind} | {', '.join(map(str, players))} | {factor} p | {' | '.join(means)} | {ratio} |", flush=True)


def ratio_of(some: Sequence[Tensor], others: Sequence[Tensor]) -> str:
    """The geometric mean over games of the ratio of mean errors, with its interval over repetitions (delta method)."""
    logs = torch.stack([(a.mean() / b.mean()).log() for a, b in zip(some, others, strict=True)])
    variance = sum(float(x.var() / len(x) / x.mean() ** 2) for x in (*some, *others)) / len(some) ** 2
    middle, half = float(logs.mean()), 1.96 * variance**0.5
    return f"{exp(middle):.2f} ({exp(middle - half):.2f} to {exp(middle + half):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--games", action="store_true", help="games whose values are written down")
    parser.add_argument("--network", help='"shapes" for the built-in pictures, or a network with --pictures')
    parser.add_argument("--weights")
    parser.add_argument("--model-option", nargs="*", default=[], help="KEY=NUMBER")
    parser.add_argument("--pictures", nargs="*", default=[])
    parser.add_argument("--players", type=int, default=12)
    parser.add_argument("--superpixels", action="store_true", help="about so many superpixels; SLIC makes 9 of 12")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    args = parser.parse_args()
    method = KernelShap(seewhy.load("shapes"))  # solves the regressions; its network is not run
    print("| game | players | calls | leverage | kernel | ratio |\n|---|---|---|---|---|---|")
    if args.games:
        for p in (8, args.players, 16):
            for name, table in known_games(p):
                report(method, name, [table], args.repetitions)
    if args.network == "shapes":
        classifier = seewhy.load("shapes")
        images = torch.stack([Shapes(n=8).sample(i).image for i in range(8)])
    elif args.network:
        options = {key: float(value) for key, _, value in (text.partition("=") for text in args.model_option)}
        classifier = seewhy.load(args.network, weights=args.weights and Path(args.weights), options=options)
        images = torch.stack([prepare(file, classifier)[0] for file in args.pictures])
    else:
        return
    tables = [table for _, table in picture_games(classifier, images, args.players, args.superpixels, args.precision)]
    report(method, args.network, tables, args.repetitions)


if __name__ == "__main__":
    main()
