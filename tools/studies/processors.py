"""What the image processors of Transformers make of three photographs, beside what the library makes of them.

    python tools/studies/processors.py --pictures /path/of/photographs --out processors

writes ``processors.md``, a table, and ``processors.png``, a figure of the largest differences. Each processor stands in a
folder with a small network, as ``hf/FOLDER`` loads it. The difference is in units of the range of pixels, before the mean is
subtracted. A processor whose steps the library does not know has its refusal in the table.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

import seewhy
from seewhy.data.pictures import read_picture
from seewhy.errors import SeewhyError
from seewhy.explanation.prepare import prepare

SMALL = {"height": 32, "width": 32}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _saved(**keys: object) -> Callable[[], dict[str, object]]:
    """A ``preprocessor_config.json`` as older versions of Transformers saved it."""
    return lambda: {"do_normalize": True, "do_resize": True, **HALVES, **keys}


def _of(name: str, **keys: object) -> Callable[[], Any]:
    return lambda: getattr(transformers, name)(**keys)


PROCESSORS: dict[str, Callable[[], Any]] = {
    "ViT": _of("ViTImageProcessor"),
    "ViT, bicubic, own mean": _of("ViTImageProcessor", resample=3, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.25]),
    "ViT, Lanczos": _of("ViTImageProcessor", resample=1),
    "ViT, nearest": _of("ViTImageProcessor", resample=0),
    "ViT, not normalized": _of("ViTImageProcessor", do_normalize=False),
    "ViT, not rescaled": _of("ViTImageProcessor", do_rescale=False, image_mean=[127.5] * 3, image_std=[127.5] * 3),
    "ViT, no square": _of("ViTImageProcessor", size={"height": 192, "width": 256}),
    "ViT, longer side and borders": _of(
        "ViTImageProcessor", size={"max_height": 224, "max_width": 224}, do_pad=True, pad_size={"height": 224, "width": 224}
    ),
    "DeiT": _of("DeiTImageProcessor"),
    "DeiT, no square": _of(
        "DeiTImageProcessor", size={"height": 256, "width": 320}, crop_size={"height": 224, "width": 224}
    ),
    "BEiT": _of("BeitImageProcessor", do_center_crop=True, size={"height": 256, "width": 256}),
    "BiT, DINOv2": _of("BitImageProcessor", size={"shortest_edge": 256}),
    "CLIP": _of("CLIPImageProcessor"),
    "ConvNeXt, 224": _of("ConvNextImageProcessor", size={"shortest_edge": 224}),
    "ConvNeXt, 384": _of("ConvNextImageProcessor"),
    "EfficientNet": _of("EfficientNetImageProcessor"),
    "EfficientNet, offset": _of(
        "EfficientNetImageProcessor", rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False
    ),
    "LeViT": _of("LevitImageProcessor"),
    "MobileNetV1": _of("MobileNetV1ImageProcessor"),
    "MobileNetV2": _of("MobileNetV2ImageProcessor", crop_size={"height": 225, "width": 223}),
    "MobileViT": _of("MobileViTImageProcessor", size={"shortest_edge": 288}),
    "MobileViT, borders": _of("MobileViTImageProcessor"),
    "Perceiver": _of("PerceiverImageProcessor"),
    "PoolFormer": _of("PoolFormerImageProcessor"),
    "PP-LCNet": _of("PPLCNetImageProcessor"),
    "PVT": _of("PvtImageProcessor"),
    "SegFormer": _of("SegformerImageProcessor"),
    "SigLIP": _of("SiglipImageProcessor"),
    "ViT, saved long ago": _saved(feature_extractor_type="ViTFeatureExtractor", resample=2, size=224),
    "DeiT, saved long ago": _saved(
        feature_extractor_type="DeiTFeatureExtractor", resample=3, size=256, do_center_crop=True, crop_size=224
    ),
    "ConvNeXt, saved long ago": _saved(
        feature_extractor_type="ConvNextFeatureExtractor", resample=3, size=224, crop_pct=0.875
    ),
}  # fmt: skip
"""Processors whose steps are ours: the library's input agrees with theirs to 1 %."""


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "SigLIP 2": (_of("Siglip2ImageProcessor"), "where a network gets"),
    "ImageGPT": (_of("ImageGPTImageProcessor", clusters=[[-1, -1, -1], [1, 1, 1]]), "not pixel_values"),
    "TextNet": (_of("TextNetImageProcessor", size={"shortest_edge": 64}), "of another"),
    "Donut": (_of("DonutImageProcessor", size={"height": 96, "width": 64}), "differs from every resizing"),
    "ViT, not resized": (_of("ViTImageProcessor", do_resize=False), "of another"),
    "ViT, several resolutions": (_of("LlavaNextImageProcessor"), "where a network gets"),
}
"""Processors whose steps are not ours, with words of their refusal."""


def save(make: Callable[[], Any], folder: Path) -> None:
    """A folder with a small network and the processor, as ``save_pretrained`` leaves it."""
    config = transformers.ViTConfig(
        image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    processor = make()
    if isinstance(processor, dict):
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    else:
        processor.save_pretrained(folder)


def differences(folder: Path, pictures: list[Image.Image]) -> tuple[seewhy.Classifier, list[float]]:
    """The classifier of a folder, and for each picture the largest difference to its processor, in units of [0, 1]."""
    classifier, processor = seewhy.load(f"hf/{folder}"), transformers.AutoImageProcessor.from_pretrained(folder)
    found = []
    for picture in pictures:
        seen = prepare(picture, classifier)[0][None]
        ours, black, white = (classifier.normalize(images) for images in (seen, 0 * seen, 0 * seen + 1))
        theirs = torch.as_tensor(processor(images=picture, return_tensors="pt")["pixel_values"]).float()
        same_size = theirs.shape == ours.shape
        found.append(float(((theirs - ours) / (white - black)).abs().max()) if same_size else float("inf"))
    return classifier, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="three photographs: wide, high and square")
    parser.add_argument("--out", type=Path, default=Path("processors"))
    given = parser.parse_args()
    pictures = [read_picture(path) for path in sorted(given.pictures.iterdir())[:3]]
    shapes = [f"{p.width} x {p.height}" for p in pictures]
    lines = [f"| processor | {' | '.join(shapes)} | steps |", "|---" * (len(pictures) + 2) + "|"]
    worst: dict[str, float] = {}
    transformers.utils.logging.set_verbosity_error()
    for name, make in {**PROCESSORS, **{name: make for name, (make, _) in REFUSED.items()}}.items():
        with tempfile.TemporaryDirectory() as folder:
            save(make, Path(folder))
            try:
                classifier, found = differences(Path(folder), pictures)
            except SeewhyError as error:
                said = str(error).partition("does not know: ")[2] or str(error)
                lines.append(f"| {name} | {' | '.join('' for _ in pictures)} | refused: {said.partition('. Prepare')[0]} |")
                continue
        view, worst[name] = classifier.view, max(found)
        box = f"{view.resize[1]} x {view.resize[0]}" if view.resize else f"crop {view.crop:.3g}"
        steps = [view.crop_mode, box, f"{view.size[1]} x {view.size[0]}", view.interpolation, view.recipe]
        steps.append(classifier.channel_order)
        lines.append(f"| {name} | {' | '.join(f'{d:.2%}' for d in found)} | {', '.join(steps)} |")
    given.out.with_suffix(".md").write_text("\n".join(lines) + "\n")
    draw(worst, given.out.with_suffix(".png"))
    print("\n".join(lines))


def draw(worst: dict[str, float], file: Path) -> None:
    """A figure of the largest difference of each processor."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.2 * len(worst) + 1), layout="constrained")
    names = sorted(worst, key=lambda name: worst[name])
    axes.barh(names, [100 * worst[name] for name in names], color="#3b6ea5")
    axes.axvline(1, color="#b03a2e", linewidth=1)
    axes.set_xlabel("largest difference, % of the range of pixels")
    axes.margins(y=0.01)
    axes.set_xlim(0, 1.05)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
