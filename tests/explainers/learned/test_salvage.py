"""Salvage: equations 4 and 5 written out, what its switches change, and the Shapley values of an additive game."""

from math import exp, log

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy import explainer
from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.salvage import Salvage, jensen_shannon


def salvage(model: str = "vit_registers", **options: object) -> Salvage:
    made = explainer("salvage", TINY[model](), **{"sets": 4, **options})
    assert isinstance(made, Salvage)
    return made.untrained()


def softmax(values: list[float]) -> list[float]:
    total = sum(exp(v) for v in values)
    return [exp(v) / total for v in values]


def slow_js(p: list[float], q: list[float]) -> float:
    """D_JS = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, in nats."""
    total = 0.0
    for a, b in zip(p, q, strict=True):
        m = (a + b) / 2
        total += (a * log(a / m) + b * log(b / m)) / 2
    return total


def some_sets(n: int, m: int, p: int, k: int) -> ValuedSets:
    torch.manual_seed(1)
    return ValuedSets(torch.rand(n, m, p) > 0.4, 2 * torch.randn(n, m, k), torch.ones(n, m, dtype=torch.bool))


@pytest.mark.parametrize(("multilabel", "temperature"), [(False, 1.0), (False, 2.5), (True, 1.0), (True, 0.5)])
def test_the_loss_is_equations_4_and_5(multilabel: bool, temperature: float) -> None:
    n, m, p, k = 2, 3, 5, 5
    method = salvage("cnn_multilabel" if multilabel else "vit_registers", temperature=temperature)
    terms, sets = torch.randn(n, p, 2, k, dtype=torch.float64), some_sets(n, m, p, k)
    found = method.errors(terms, sets)
    for i in range(n):
        for j in range(m):
            sums = []
            for c in range(k):
                total = 0.0
                for player in range(p):
                    sign = 0 if sets.kept[i, j, player] else 1
                    total += float(terms[i, player, sign, c])
                sums.append(total / temperature)
            v = [float(x) for x in sets.logits[i, j].double()]
            if multilabel:
                each = [slow_js(softmax([s, 0.0]), softmax([x, 0.0])) for s, x in zip(sums, v, strict=True)]
                expected = sum(each) / k
            else:
                expected = slow_js(softmax(sums), softmax(v))
            assert float(found[i, j]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_divergence_has_its_bounds() -> None:
    far, near = torch.tensor([[80.0, -80.0]]), torch.tensor([[-80.0, 80.0]])
    assert float(jensen_shannon(far, near)) == pytest.approx(log(2), abs=1e-6)
    assert float(jensen_shannon(far, far)) == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(jensen_shannon(far / 40, near / 20), jensen_shannon(near / 20, far / 40))


def test_a_learned_temperature_is_trained(batch: tuple[Tensor, Tensor]) -> None:
    method = salvage(temperature="learned", small=False)
    step = method.loss(method.see(batch[0]), torch.Generator().manual_seed(0))
    step.terms["error"].backward()
    grad = method.net.scalars["log_temperature"].grad
    assert grad is not None
    assert float(grad) != 0
    terms, kept = torch.randn(1, 4, 2, 5), torch.rand(1, 3, 4) > 0.5
    with torch.no_grad():
        method.net.scalars["log_temperature"].fill_(log(3))
    plain = salvage().logits_of_sets(terms, kept)
    torch.testing.assert_close(method.logits_of_sets(terms, kept), plain / 3)


def test_mean_and_deviation_are_apart() -> None:
    """The mean of each term over the players is what the whole image says, and the head says only what differs."""
    made, level = torch.randn(2, 6, 2, 5), torch.randn(2, 2, 5)
    seen = Seen(torch.rand(2, 3, 16, 16), None, torch.zeros(2, 5))
    found = salvage(centered=False).terms(made, level, seen)
    torch.testing.assert_close(found.mean(1), level)
    torch.testing.assert_close(found - found.mean(1, keepdim=True), made - made.mean(1, keepdim=True))
    assert salvage(apart=False).net.level is None
    torch.testing.assert_close(salvage(apart=False, centered=False).terms(made, None, seen), made)


def test_the_mean_over_classes_is_subtracted_for_a_softmax_alone() -> None:
    made, seen = torch.randn(2, 6, 2, 5), Seen(torch.rand(2, 3, 16, 16), None, torch.zeros(2, 5))
    found = salvage(apart=False).terms(made, None, seen)
    torch.testing.assert_close(found.sum(3), torch.zeros(2, 6, 2), atol=1e-6, rtol=0)
    kept = torch.rand(2, 3, 6) > 0.5
    plain = salvage().logits_of_sets(made, kept).softmax(2)
    torch.testing.assert_close(salvage().logits_of_sets(found, kept).softmax(2), plain)  # the same u
    torch.testing.assert_close(salvage("cnn_multilabel", apart=False).terms(made, None, seen), made)


def test_the_present_attributions_of_the_predicted_class_guide_the_sets() -> None:
    """Half of the sets reveal the players of high attribution, the other half hide them; held-out sets know nothing."""
    p, method = 16, salvage(sets=400)
    scores = torch.zeros(1, p, 5)
    scores[0, :4, 2] = 1.0  # of the predicted class
    scores[0, 8:, 1] = 1.0  # of another one
    seen = Seen(torch.rand(1, 3, 16, 16), None, torch.nn.functional.one_hot(torch.tensor([2]), 5).float())
    kept = method.draw(scores, seen, p, torch.Generator().manual_seed(0))
    reveals, hides = kept[0, :200].float().mean(0), kept[0, 200:].float().mean(0)
    assert float(reveals[:4].min()) > float(reveals[4:].max()) + 0.2
    assert float(hides[:4].max()) < float(hides[4:].min()) - 0.2
    for plain in (
        method.draw(None, seen, p, torch.Generator().manual_seed(0)),
        salvage(sets=400, sampling="uniform").draw(scores, seen, p, torch.Generator().manual_seed(0)),
    ):
        rates = plain[0].float().mean(0)
        assert float(rates.max() - rates.min()) < 0.15


def test_the_terms_of_an_additive_game_are_found_again() -> None:
    """Where the logits of a set are a sum over its players, descent on the loss finds the summands, up to what is free."""
    torch.manual_seed(0)
    p, k, method = 4, 5, salvage(apart=False)
    truth = torch.randn(1, p, 2, k)
    truth -= truth.mean(3, keepdim=True)
    kept = ((torch.arange(2**p)[:, None] >> torch.arange(p)) % 2 == 1)[None]
    sets = ValuedSets(kept, method.logits_of_sets(truth, kept), torch.ones(1, 2**p, dtype=torch.bool))
    terms = torch.zeros_like(truth, requires_grad=True)
    optimizer = torch.optim.LBFGS([terms], max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = method.errors(terms, sets).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found, expected = method.signed(terms.detach()), method.signed(truth)
    torch.testing.assert_close(found - found.mean(2, keepdim=True), expected, atol=5e-3, rtol=0)
