"""Folders of small networks with an image tower and a text tower, as the hub has them: weights, tokenizer, processor."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

LETTERS = [*map(chr, range(ord("a"), ord("z") + 1)), ","]
SIZE, TOKENS = 32, 12
VISION = {
    "image_size": SIZE,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": TOKENS,
}


def save_quietly(part: Any, folder: Path) -> None:
    from seewhy.classifier.hub_names import quiet

    with quiet():
        part.save_pretrained(folder)


def spread(module: nn.Module) -> Any:
    """The network with weights that differ from text to text and from picture to picture, as trained ones do."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
    return module.eval()


def clip_folder(folder: Path, **of_text: object) -> Path:
    """CLIP, with a tokenizer that knows letters, "dog" and "cat"."""
    transformers = pytest.importorskip("transformers")
    folder.mkdir(parents=True, exist_ok=True)
    tokens = [*LETTERS, *(f"{x}</w>" for x in LETTERS), "do", "dog</w>", "ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    n = len(tokens)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\nc a\nca t</w>\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=TOKENS)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    save_quietly(transformers.CLIPProcessor(image_processor=processor, tokenizer=tokenizer), folder)
    ends = {"bos_token_id": n - 2, "eos_token_id": n - 1, "pad_token_id": n - 1}
    config = transformers.CLIPConfig(
        text_config={**TEXT, "vocab_size": n, **ends, **of_text}, vision_config=VISION, projection_dim=12
    )
    save_quietly(spread(transformers.CLIPModel(config)), folder)
    return folder


def siglip_folder(folder: Path) -> Path:
    """SigLIP in the form of SigLIP 2's checkpoints of one size, whose tokenizer needs no other library."""
    transformers = pytest.importorskip("transformers")
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *LETTERS]
    tokenizer = transformers.Siglip2Tokenizer(
        {token: i for i, token in enumerate(tokens)}, [], padding_side="right", model_max_length=TOKENS
    )
    processor = transformers.SiglipImageProcessor(size={"height": SIZE, "width": SIZE})
    save_quietly(tokenizer, folder)
    save_quietly(processor, folder)
    config = transformers.SiglipConfig(text_config={**TEXT, "vocab_size": len(tokens)}, vision_config=VISION)
    module = spread(transformers.SiglipModel(config))
    module.logit_scale.data.fill_(2.0)
    module.logit_bias.data.fill_(-3.0)
    save_quietly(module, folder)
    return folder
