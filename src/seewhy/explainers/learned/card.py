"""``README.md`` of the folder of a learned explainer: the model card, for people and for a hub."""

import json
from collections.abc import Mapping
from typing import Any

from seewhy.classifier.identity import ExplainedNetwork
from seewhy.describe import first_sentence
from seewhy.explainers.learned.config import ExplainerConfig
from seewhy.text import printable

SECTIONS = {"data": "Data", "settings": "Training", "scores": "Held-out scores"}
"""Parts of the card that have a section of their own, and its title. All others are lines of the first one."""
NAMED_CLASSES = 20
"""Names of classes that the card repeats."""
LOADING = """\
```python
import seewhy

classifier = seewhy.load("NAME OF THE NETWORK")
explainer = seewhy.load_explainer({place}, classifier)
maps = explainer.explain(images, targets)
logits, maps = explainer.predict_and_explain(images)  # both, from one pass of the network
```

```sh
seewhy explain PICTURE --model "NAME OF THE NETWORK" --explainer {place}
```
"""


def model_card(config: ExplainerConfig, kind: type, name: str) -> str:
    """The card as Markdown with the head that a hub reads. All text is harmless: names come from files."""
    card, explained = config.card, config.explained
    head = ["---", "library_name: seewhy", "tags:", "- explainability", "- image-classification", "- model_hub_mixin"]
    head += [f"license: {json.dumps(printable(str(card['license'])))}"] if card.get("license") else []
    parts = ["\n".join([*head, "---"]), f"# {plain(name)}"]
    parts.append(f"{plain(config.method)}, a method of seewhy. {first_sentence(kind)}.")
    parts += ["## The explained network", _table(_network(explained))]
    network = {"kind": config.network, "parameters": f"{config.parameters:,}", "fingerprint": config.weights}
    rest = {key: value for key, value in card.items() if key not in SECTIONS}
    options = {key: value for key, value in config.options.items() if value is not None}
    parts += ["## The explainer", _table({**network, **{f"option {key}": value for key, value in options.items()}, **rest})]
    for key, title in SECTIONS.items():
        if content := card.get(key):
            parts += [f"## {title}", _table(content) if isinstance(content, Mapping) else plain(content)]
    parts += ["## How to use it", LOADING.format(place=json.dumps(printable(name)))]
    return "\n\n".join(parts)


def _network(explained: ExplainedNetwork) -> dict[str, Any]:
    names = [*explained.classes[:NAMED_CLASSES], *(["…"] if len(explained.classes) > NAMED_CLASSES else [])]
    return {
        "kind": explained.module,
        "fingerprint of its weights": explained.weights,
        "layers that are read": ", ".join(explained.layers) or "none: the explainer has a network of its own",
        "classes": f"{explained.n_classes}" + (f": {', '.join(names)}" if names else ""),
        "images": f"{' x '.join(map(str, explained.input_size))}, mean {explained.mean}, std {explained.std}, "
        f"channels {explained.channel_order}",
    }


def _table(content: Mapping[str, Any]) -> str:
    lines = [f"| {plain(key)} | {plain(value)} |" for key, value in _flat(content).items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """A mapping of mappings as one: the names of the levels stand one after the other."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= _flat(value, f"{above}{key} ") if isinstance(value, Mapping) else {f"{above}{key}": value}
    return found


def plain(value: object) -> str:
    """A value as text that is no Markdown, no HTML and no end of a line."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = printable(" ".join(text.split()))
    for letter in "\\`*_[]|<>#&":
        text = text.replace(letter, f"&#{ord(letter)};" if letter in "<>&" else f"\\{letter}")
    return text
