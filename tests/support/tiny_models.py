"""The tiny models that every method is tried on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import EXPLAINERS, Explainer, explainer
from seewhy.explainers.attention.attention_method import NeedsAttention
from seewhy.explainers.learned.learned_explainer import LearnedExplainer

torch.set_num_threads(1)
SIZE = 16


def cnn(inplace: bool = False, k: int = 5) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=inplace),
        nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, k),
    )


class Attention(nn.Module):
    """Two heads, fused: no attention weights are ever made."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(d), Attention(d)
        self.norm2, self.mlp = nn.LayerNorm(d), nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """A class token; with ``extra`` tokens also a distillation token with its own head, and registers."""

    def __init__(self, extra: int = 0, d: int = 12, k: int = 5) -> None:
        super().__init__()
        self.num_prefix_tokens = 1 + extra
        self.patch = nn.Conv2d(3, d, 4, 4)
        self.prefix = nn.Parameter(torch.randn(1, 1 + extra, d))
        self.position = nn.Parameter(torch.randn(1, 1 + extra + 16, d) * 0.3)
        self.blocks = nn.Sequential(Block(d), Block(d))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, k)
        self.head_dist = nn.Linear(d, k) if extra else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.prefix.expand(len(x), -1, -1), tokens], 1) + self.position
        tokens = self.norm(self.blocks(tokens))
        if self.head_dist is None:
            return self.head(tokens[:, 0])
        return (self.head(tokens[:, 0]) + self.head_dist(tokens[:, 1])) / 2


class Functional(nn.Module):
    """Functional ReLU and pooling, a skip around the layer, one module used twice, an output in a dict."""

    def __init__(self, k: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, k)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.stem(x))
        y = F.max_pool2d(F.relu(self.shared(self.shared(x))), 2)
        z = F.relu(self.last(y)) + y
        return {"features": z, "logits": self.head(z.mean((2, 3)))}


TINY: dict[str, Callable[[], Classifier]] = {
    "cnn": lambda: tiny(cnn()),
    "cnn_inplace": lambda: tiny(cnn(inplace=True)),
    "cnn_multilabel": lambda: tiny(cnn(), multilabel=True),
    "vit": lambda: tiny(TinyViT()),
    "vit_registers": lambda: tiny(TinyViT(extra=4)),
    "functional": lambda: tiny(Functional()),
}


CHEAP: dict[str, dict[str, object]] = {
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 3},
    "gradient_shap": {"samples": 3},
    "opti_cam": {"steps": 3},
    "opti_cam_fast": {"steps": 5, "learning_rate": 0.05},
    "occlusion": {"window": 6, "stride": 5},
    "rise": {"samples": 12, "cells": 4},
    "relax": {"samples": 12, "cells": 4},
    "u_relax": {"samples": 12, "cells": 4},
    "transformer_input_sampling": {"masks": 6},
    "lime": {"samples": 20, "size": 8},
    "kernel_shap": {"samples": 20, "size": 8},
    "exact_shapley": {"size": 4},
    "permutation_shapley": {"samples": 20, "size": 8},
    "extremal_perturbation": {"steps": 2, "areas": (0.1, 0.3)},
    "smooth_pixel_mask": {"steps": 2},
    "meaningful_perturbation": {"steps": 3, "cells": 8},
    "metric_driven": {"size": 6},
    "nn_explainer": {"architecture": "light"},
    "rtis": {"architecture": "light"},
    "salvage": {"sets": 4, "small": False},
    "vit_shapley": {"sets": 4, "small": False},
    "igos_pp": {"iterations": 1, "path_steps": 2, "cells": 6, "longest": 10.0, "selector": "logit", "sparsity": 0.0},
}
"""Options with which each method takes a fraction of a second, where the number of steps does not matter."""


LEARNED = {name for name in EXPLAINERS if EXPLAINERS[name].family == "learned"}


def ready_explainer(name: str, classifier: Classifier, **options: object) -> Explainer:
    """``seewhy.explainer``, ready to explain: a learned method has a new network, since a contract holds for any weights."""
    method = explainer(name, classifier, **options)
    return method.untrained() if isinstance(method, LearnedExplainer) and method.network is None else method


def is_defined(name: str, model: str) -> bool:
    """Is the method defined for the tiny model? Methods that read attention or drop tokens need a transformer."""
    needs_transformer = issubclass(EXPLAINERS[name], NeedsAttention) or name == "transformer_input_sampling"
    return model.startswith("vit") or not needs_transformer


def model_for(name: str) -> str:
    """A tiny model for which the method is defined: the CNN, or the transformer."""
    return "cnn" if is_defined(name, "cnn") else "vit"


def tiny(module: nn.Module, multilabel: bool = False) -> Classifier:
    """The module with weights and running statistics that give every class and channel something to say."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            if not p.is_floating_point():
                continue
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("running_var") or (p.ndim == 1 and name.endswith("weight")):
                p.copy_(1 + 0.2 * noise.abs())
            else:
                p.copy_(noise * (0.3 if p.ndim == 1 else (2 / max(p[0].numel(), 1)) ** 0.5))
    return Classifier(
        module.eval(), input_size=(SIZE, SIZE), classes=("ant", "bee", "cat", "dog", "elk"), multilabel=multilabel
    )


@contextmanager
def double_by_default() -> Iterator[None]:
    """What a script does that asks for float64 once, at its top."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
