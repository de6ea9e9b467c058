"""Completeness in float64: do the inputs and all that a network adds, each times its gradient, sum to a logit?"""

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import logits_in
from seewhy.classifier.libra import balance

ADDED = ("bias", "beta", "token", "pos_embed", "position_embeddings", "latent", "class_embedding", "pos_embedding")


def randomized(module: nn.Module) -> nn.Module:
    """The network in float64 and eval mode; noise is added to its parameters, and variances are drawn.

    Libraries start biases at zero, where they could show nothing.
    """
    generator = torch.Generator().manual_seed(0)
    module = module.double().eval()
    for p in module.parameters():
        p.data += 0.05 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return module


def is_added(name: str) -> bool:
    """Is a parameter added to what the network computes, by its name? Positions within attention are not."""
    last = name.rsplit(".", maxsplit=1)[-1]
    if "relative" in name or "table" in last:
        return False
    return any(word in last for word in ADDED) or name.endswith("position_embedding.weight")


def gap(module: nn.Module, image: Tensor, libra: bool) -> float:
    """|sum of inputs and added parameters times their gradients - logit| / |logit|, for class 1."""
    for name, p in module.named_parameters():
        p.requires_grad_(is_added(name))
    x = image.clone().requires_grad_()
    logits = logits_in(module(x))
    if libra:
        balance(logits)
    given = [x, *(p for p in module.parameters() if p.requires_grad)]
    gradients = torch.autograd.grad(logits[0, 1], given, allow_unused=True)
    total = sum(float((a * g).detach().sum()) for a, g in zip(given, gradients, strict=True) if g is not None)
    return abs(total / float(logits[0, 1]) - 1)
