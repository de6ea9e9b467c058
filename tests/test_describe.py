"""What a result depends on, as JSON: equal for equal things, different for different ones."""

import json
from dataclasses import dataclass, field

import torch
from support.tiny_models import cnn

from seewhy.describe import as_json, digest_of, environment, fields_as_json, first_sentence, tensor_bytes, weights_digest


@dataclass
class Options:
    layer: str = "4"
    areas: tuple[float, ...] = (0.1, 0.2)
    start: torch.Tensor = field(default_factory=lambda: torch.zeros(2))


def test_weights_with_one_other_number_have_another_digest() -> None:
    module = cnn()
    before = weights_digest(module)
    assert weights_digest(module) == before
    assert len(before) == 16
    with torch.no_grad():
        module[0].bias[3] += 1e-6
    changed = weights_digest(module)
    assert changed != before
    module[1].running_mean[0] += 1
    assert weights_digest(module) != changed, "buffers count"


def test_a_tensor_of_any_type_has_bytes() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        assert len(tensor_bytes(torch.ones(3, dtype=dtype))) == 3 * torch.ones(1, dtype=dtype).element_size()
    assert tensor_bytes(torch.arange(6).view(2, 3).T) == tensor_bytes(torch.tensor([0, 3, 1, 4, 2, 5]))


def test_the_fields_of_a_dataclass_but_some() -> None:
    found = fields_as_json(Options(), without=("layer",))
    assert found == {"areas": [0.1, 0.2], "start": as_json(torch.zeros(2))}
    assert json.loads(json.dumps(found)) == found
    assert fields_as_json(object(), ()) == {}


def test_different_values_give_different_json() -> None:
    values = [None, True, 1, 1.5, "1", [1], [1, 2], {"a": 1}, Options(), Options("5"), Options(start=torch.ones(2)), len]
    texts = [json.dumps(as_json(value)) for value in values]
    assert len(set(texts)) == len(texts)
    assert " at 0x" not in json.dumps(as_json(object())), "an address differs from run to run"


def test_a_digest_is_short_and_the_environment_names_versions() -> None:
    assert digest_of(b"") == "e3b0c44298fc1c14"
    assert set(environment()) == {"versions", "hardware"}


def test_the_first_sentence_of_a_docstring() -> None:
    class Method:
        """The gradient (eq. 4),
        summed. Signed. Others

        follow."""

    assert first_sentence(Method) == "The gradient (eq. 4), summed"
    assert first_sentence(lambda: None) == ""
