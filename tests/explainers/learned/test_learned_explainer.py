"""The base of learned explainers, by a method with a 1 x 1 convolution of one layer's features."""

import pytest
import torch
from jaxtyping import Float
from support.learned_methods import OneLayer
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UnsuitedError
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen, Step
from seewhy.maps import upsample


class Weighed(LearnedExplainer):
    """A mask a class, of which nothing is known but that it is small."""

    def new_network(self) -> nn.Module:
        classifier = self.classifier
        with classifier.capture(classifier.layer) as outputs:
            classifier.logits(torch.rand(1, 3, 16, 16))
        channels = classifier.as_grid(outputs[classifier.layer], layer=classifier.layer).shape[1]
        return OneLayer(classifier.layer, channels, classifier.n_classes)

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        masks = self.ready(seen.features[0])
        return Step({"area": masks.mean()}, masks)

    def masks(self, seen: Seen, classes: Tensor) -> Float[Tensor, "n j h w"]:
        masks = upsample(self.ready(seen.features[0]), seen.images.shape[-2:])
        return masks.gather(1, classes[:, :, None, None].expand(-1, -1, *masks.shape[-2:]))


@pytest.fixture(params=["cnn", "vit_registers", "cnn_multilabel"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return TINY[request.param]()


def test_before_its_training_a_method_says_how_to_train_it(classifier: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(UnsuitedError, match="not trained for this network: seewhy fit"):
        Weighed(classifier).explain(*batch)


def test_the_same_seed_gives_the_same_network_and_touches_no_generator(classifier: Classifier) -> None:
    state = torch.get_rng_state()
    first, again, other = (Weighed(classifier).untrained(seed).ready.state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_one_pass_predicts_and_explains(classifier: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    images, _ = batch
    method = Weighed(classifier, batch_size=2).untrained()
    method.predict_and_explain(images)  # what the classifier finds once is found by now
    classes = classifier.logits(images).argmax(1)
    passes: list[int] = []
    with classifier.module.register_forward_pre_hook(lambda *_: passes.append(1)):
        logits, maps = method.predict_and_explain(images)
    assert len(passes) == -(-len(images) // 2)
    torch.testing.assert_close(logits, classifier.logits(images).detach())
    torch.testing.assert_close(maps[:, 0], method.explain(images, classes))
    assert not logits.requires_grad
    assert not maps.requires_grad


def test_the_trained_network_is_evaluated_and_comes_back_in_its_mode(
    classifier: Classifier, batch: tuple[Tensor, Tensor]
) -> None:
    method = Weighed(classifier).untrained()
    method.ready.train()
    torch.testing.assert_close(method.explain(*batch), method.explain(*batch), rtol=0, atol=0)  # no dropout
    assert method.ready.training


def test_what_is_seen_has_no_graph_and_the_loss_trains_every_weight(
    classifier: Classifier, batch: tuple[Tensor, Tensor]
) -> None:
    method = Weighed(classifier).untrained()
    seen = method.see(*batch)
    assert not any(x.requires_grad for x in (seen.logits, *seen.features))
    step = method.loss(seen, torch.Generator())
    sum(step.terms.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.ready.parameters())
    assert all(p.grad is None for p in classifier.module.parameters())
