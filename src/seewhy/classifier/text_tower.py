"""Networks of an image tower and a text tower (CLIP, SigLIP, ...) of Transformers, and the classifier over texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seewhy.classifier import hugging_face
from seewhy.classifier.borrow import frozen, places_of_calls
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.hub_names import quiet
from seewhy.classifier.similarity import similarity_classifier
from seewhy.data.texts import prompts
from seewhy.describe import digest_of
from seewhy.errors import SeewhyError, cause
from seewhy.types import Logits

AT_A_TIME = 256
"""Texts that the text tower reads at a time."""


@dataclass(frozen=True, eq=False)
class TwoTowers:
    """A network with a tower for images and one for texts.

    module     the whole network
    tokenizer  makes the input of the text tower
    images     the image tower as a classifier, with the preprocessing of the network's own processor
    name       begins errors
    """

    module: Any
    tokenizer: Any
    images: Classifier
    name: str

    def classifier(self, texts: Sequence[str], templates: Sequence[str]) -> Classifier:
        """The classifier over ``texts``: its logits are those of the network itself; of one text it is the cosine alone.

        Of several templates the embeddings are averaged, each of length 1, as in the paper of CLIP. The text tower is left
        out: the classifier holds the image tower and the embeddings of the texts.
        """
        every = [self._tokens(prompts(texts, template)) for template in templates]
        with frozen(self.module), torch.no_grad():
            try:
                scale, bias = self._scale_and_bias(every[0])
                parts = [self._embeddings(tokens) for tokens in every]
            except SeewhyError:
                raise
            except Exception as error:  # networks of many kinds have two towers, and may need more than images and texts
                raise self._no_cosine(cause(error)) from error
        embeddings = torch.stack([part / part.norm(dim=1, keepdim=True) for part in parts]).mean(0)
        sigmoids = bias is not None
        about = {"texts": f"{len(texts)} {digest_of(chr(10).join(texts).encode())}", "templates": list(templates)}
        _drop_unused(self.module, self.images)
        return similarity_classifier(
            self.images,
            embeddings,
            texts,
            scale=scale if len(texts) > 1 else 1.0,
            bias=bias or 0.0 if len(texts) > 1 else 0.0,
            multilabel=sigmoids and len(texts) > 1,
            about=about,
        )

    def _tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The input of the text tower. SeewhyError for a text that it cannot read whole, and for two that it cannot tell."""
        tokenizer, most = self.tokenizer, self._most_tokens
        sigmoid = hasattr(self.module, "logit_bias")
        for text in texts:
            own = tokenizer(text, add_special_tokens=False)["input_ids"]
            if not own or tokenizer.unk_token_id in own or max(own) >= self._vocabulary:
                raise SeewhyError(f"the tokenizer of {self.name} does not know all of the text {text!r}: write it otherwise")
            if (n := len(tokenizer(text)["input_ids"])) > most:
                raise SeewhyError(
                    f"the text {text[:60]!r}... has {n} tokens, the text tower of {self.name} reads {most}: shorten it"
                )
        # SigLIP was trained on texts that are padded to the full length (its model card)
        full: dict[str, Any] = {"padding": "max_length", "max_length": most} if sigmoid else {"padding": True}
        made = tokenizer(list(texts), return_tensors="pt", **full)
        rows = [tuple(row) for row in made["input_ids"].tolist()]
        for i, row in enumerate(rows):
            if (first := rows.index(row)) < i:
                raise SeewhyError(f"{texts[first]!r} and {texts[i]!r} are the same text for {self.name}: give one of them")
        device = next(self.module.parameters()).device
        return {key: value.to(device) for key, value in made.items()}

    @property
    def _most_tokens(self) -> int:
        """How many tokens the text tower reads."""
        places = getattr(self.module.config.text_config, "max_position_embeddings", None)
        return min(filter(None, (places, self.tokenizer.model_max_length)))

    @property
    def _vocabulary(self) -> int:
        """How many tokens the text tower knows."""
        return int(self.module.config.text_config.vocab_size)

    def _embeddings(self, tokens: Mapping[str, Tensor]) -> Float[Tensor, "k d"]:
        """(k, d) of the text tower."""
        n, found = len(tokens["input_ids"]), []
        for start in range(0, n, AT_A_TIME):
            some = {key: value[start : start + AT_A_TIME] for key, value in tokens.items()}
            output = self.module.get_text_features(**some)
            found.append(output if isinstance(output, Tensor) else output.pooler_output)
        return torch.cat(found)

    def _scale_and_bias(self, tokens: Mapping[str, Tensor]) -> tuple[float, float | None]:
        """The factor and the summand (None for none) that make the network's own logits of cosines.

        They are compared with the logits of the whole network for a random image. SeewhyError where these are others.
        """
        module, few = self.module, {key: value[:4] for key, value in tokens.items()}
        log_scale, bias = getattr(module, "logit_scale", None), getattr(module, "logit_bias", None)
        if log_scale is not None:
            most = getattr(module, "max_log_logit_scale", None)  # AIMv2
            scale = float((log_scale if most is None else log_scale.clamp(0, most)).exp())
        else:
            scale = 1 / float(getattr(module, "temperature", 1.0))  # ALIGN
        image = self.images.normalize(self.images._random_image)
        embedding, texts = self.images.module(image), self._embeddings(few)
        cosine = (embedding / embedding.norm()) @ (texts / texts.norm(dim=1, keepdim=True)).T
        own: Logits | None = getattr(module(pixel_values=image, **few), "logits_per_image", None)
        expected = scale * cosine + (0.0 if bias is None else float(bias))
        if own is None or own.shape != expected.shape or not torch.allclose(own, expected, rtol=1e-3, atol=1e-3 * scale):
            raise self._no_cosine("its logits are others")
        return scale, None if bias is None else float(bias)

    def _no_cosine(self, why: str) -> SeewhyError:
        kind = type(self.module).__name__
        return SeewhyError(
            f"{self.name} ({kind}) does not compare images with texts by a scaled cosine ({why}): give its embeddings to "
            "seewhy.similarity_classifier"
        )


def has_text_tower(config: Any) -> bool:
    """Does a configuration of Transformers say that the network has a tower for images and one for texts?"""
    return hasattr(config, "vision_config") and hasattr(config, "text_config")


def two_towers(name: str, config: Any, options: Mapping[str, Any], pretrained: bool) -> TwoTowers:
    """The network of a folder or of the hub, with its tokenizer and its processor.

    SeewhyError where it has no text tower, where weights or a tokenizer are missing, or where its processor does not fit.
    """
    if not has_text_tower(config):
        raise SeewhyError(
            f"{name} has no text tower, so that it reads no texts: give a network such as hf/openai/clip-vit-base-patch32, "
            "or another picture with similar_to (--similar-to)"
        )
    where = {key: value for key, value in options.items() if key in hugging_face.OF_THE_HUB}
    with quiet():
        tokenizer = _tokenizer(name, where)
        images = hugging_face.build_embedding(name, config, options, pretrained)
    module = images.module.network
    if not hasattr(module, "get_text_features"):
        raise SeewhyError(f"{name} ({type(module).__name__}) gives no embeddings of texts alone: choose another network")
    return TwoTowers(module, tokenizer, images, name)


def _tokenizer(name: str, where: Mapping[str, Any]) -> Any:
    """The tokenizer of a folder or of the hub. Without its files Transformers would make one that knows no word."""
    from transformers import AutoTokenizer
    from transformers.models.auto.tokenization_auto import get_tokenizer_config
    from transformers.utils.hub import cached_file

    hugging_face.must_need_no_code(name, get_tokenizer_config(name, **where), ("AutoTokenizer",))
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **where)
    except Exception as error:  # a tokenizer may need other libraries, and its files may be broken in any way
        raise SeewhyError(
            f"the tokenizer of {name} cannot be made ({cause(error)}): look for its files and for the libraries that it "
            "needs, such as sentencepiece and protobuf"
        ) from None
    files = {"tokenizer.json", *getattr(tokenizer, "vocab_files_names", {}).values()}
    if not any(cached_file(name, file, _raise_exceptions_for_missing_entries=False, **where) for file in files):
        raise SeewhyError(
            f"{name} has no tokenizer ({' or '.join(sorted(files))}), which its text tower needs: add the files that were "
            "saved with the network"
        )
    return tokenizer


def _drop_unused(network: nn.Module, images: Classifier) -> None:
    """Take from the network, which is our own, the parts that the image tower does not run: the text tower."""
    with frozen(images.module), torch.no_grad():
        used = set(places_of_calls(images.module, images.normalize(images._random_image)))
    for name, part in list(network.named_children()):
        if not used & set(part.modules()):
            delattr(network, name)
