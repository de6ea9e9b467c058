"""Every learned explainer x every promise of its training x some tiny models, and the two of the tests."""

import pytest
import torch
from jaxtyping import Float
from support.learned_methods import register_two
from support.tiny_models import CHEAP, LEARNED, TINY
from torch import Tensor

from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.testing.learned import CHECKS, BuildLearned, Check, check_learned, check_loss

MODELS = ["cnn", "vit_registers"]
PAIRS = [(name, model) for name in sorted(LEARNED) for model in MODELS]


def builder(name: str) -> BuildLearned:
    def build(classifier: object) -> LearnedExplainer:
        return explainer(name, classifier, **CHEAP.get(name, {}))  # type: ignore[arg-type, return-value]

    return build


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "model"), PAIRS)
def test_contract(name: str, check: Check, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check(builder(name), TINY[model](), *batch)


@pytest.mark.parametrize("name", sorted(LEARNED))
def test_the_loss_of_a_network_with_several_labels(name: str, batch: tuple[Tensor, Tensor]) -> None:
    check_loss(builder(name), TINY["cnn_multilabel"](), *batch)


# -- the checks themselves -----------------------------------------------------------------------------------------------


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> tuple[type[LearnedExplainer], type[LearnedExplainer]]:
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    return register_two()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["weighed", "painted"])
def test_sound_methods_pass(two: object, name: str, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check_learned(builder(name), TINY[model](), *batch)


def test_a_broken_promise_is_found(
    two: tuple[type[LearnedExplainer], type[LearnedExplainer]], batch: tuple[Tensor, Tensor]
) -> None:
    weighed, painted = two

    class DrawsItself(weighed):  # type: ignore[misc, valid-type]
        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            step = super().loss(seen, generator)
            return step._replace(terms={"area": step.masks.mean() * torch.rand(())})

    class ReachesNothing(weighed):  # type: ignore[misc, valid-type]
        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            step = super().loss(seen, generator)
            return step._replace(terms={"area": step.masks.mean().detach() + 0 * self.ready.weigh.bias.sum()})

    class IsNoNumber(painted):  # type: ignore[misc, valid-type]
        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            step = super().loss(seen, generator)
            return step._replace(terms={"log": (step.masks * 0).sum().log()})

    class RunsTwice(weighed):  # type: ignore[misc, valid-type]
        def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
            self.classifier.logits(seen.images)
            return super().masks(seen, classes)

    class LeavesAHook(weighed):  # type: ignore[misc, valid-type]
        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            self.classifier.module.register_forward_hook(lambda *_: None)
            return super().loss(seen, generator)

    class ChangesABuffer(weighed):  # type: ignore[misc, valid-type]
        def loss(self, seen: Seen, generator: torch.Generator) -> Step:
            next(b for b in self.classifier.module.buffers() if not b.is_floating_point()).add_(1)
            return super().loss(seen, generator)

    broken = {
        DrawsItself: "draws from a global generator",
        ReachesNothing: "no finite gradient reaches weigh.weight",
        IsNoNumber: "the term log is",
        RunsTwice: "explain runs the network on 6 images for 3",
        LeavesAHook: "hooks of the network changed",
        ChangesABuffer: "weights or buffers of the network changed",
    }
    for kind, said in broken.items():
        with pytest.raises(AssertionError, match=said):
            check_learned(kind, TINY["cnn"](), *batch)
