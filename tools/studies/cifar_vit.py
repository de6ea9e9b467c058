"""A small vision transformer for CIFAR-10, trained on the JPEG pictures of real_data, as a model of the command line.

    python tools/studies/cifar_vit.py --out FOLDER [--minutes M] [--epochs N] [--device cuda]

unpacks the 50,000 training pictures into ``FOLDER/train/CLASS/*.jpg``, trains the network on them, and writes
``FOLDER/vit.safetensors`` after every epoch (the same command goes on from there). Pictures are 32 x 32, patches 4 x 4: 64
players. Prints the accuracy on the 2,000 test pictures. Then, with tools/studies on PYTHONPATH and the environment variable
CIFAR_VIT naming FOLDER,

    seewhy fit surrogate --model cifar_vit:network --data FOLDER/train --limit 20000 --out RUN

The folder of real data is that of the environment variable SEEWHY_REAL_DATA.
"""

import argparse
import os
import zipfile
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

import seewhy

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("SEEWHY_REAL_DATA", ROOT.parent / "shared" / "real_data"))
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
SHIFT = 4
"""Training pictures are shifted by at most so many pixels."""


def untrained() -> VisionTransformer:
    shape = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 6, "num_heads": 3}
    return VisionTransformer(**shape, num_classes=len(CLASSES), drop_path_rate=0.1)


def network() -> seewhy.Classifier:
    """The trained network of the folder that CIFAR_VIT names."""
    module = untrained()
    module.load_state_dict(load_file(Path(os.environ["CIFAR_VIT"]) / "vit.safetensors"))
    return seewhy.Classifier(module.eval(), MEAN, STD, (32, 32), CLASSES, crop=1.0)


def read(folder: Path) -> tuple[Tensor, Tensor]:
    """All pictures of a folder of classes, in bytes, and their labels."""
    files = [(file, k) for k, name in enumerate(CLASSES) for file in sorted((folder / name).glob("*.jpg"))]
    images = np.stack([np.asarray(Image.open(file).convert("RGB")) for file, _ in files])
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor([k for _, k in files])


def normalized(images: Tensor) -> Tensor:
    return (images.float() / 255 - images.new_tensor(MEAN, dtype=torch.float32)[:, None, None]) / images.new_tensor(
        STD, dtype=torch.float32
    )[:, None, None]


def augmented(images: Tensor) -> Tensor:
    """The pictures, each second one mirrored, all shifted together: one draw for a batch is cheap, and enough."""
    flip = torch.rand(len(images), device=images.device) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,)).tolist()
    return pad(images, (SHIFT,) * 4)[:, :, down : down + 32, right : right + 32]


@torch.no_grad()
def accuracy(module: VisionTransformer, images: Tensor, labels: Tensor) -> float:
    module.eval()
    found = torch.cat([module(normalized(part)).argmax(1) for part in images.split(500)])
    return float((found == labels).float().mean())


def train(out: Path, epochs: int, minutes: float, device: str) -> None:
    file, end, done = out / "vit.safetensors", monotonic() + 60 * minutes, 0
    module = untrained()
    if file.is_file():
        module.load_state_dict(load_file(file))
        with safe_open(file, "pt") as content:
            done = int(content.metadata()["epochs"])
    module.to(device)
    images, labels = (t.to(device) for t in read(out / "train"))
    test, truth = (t.to(device) for t in read(REAL / "cifar10" / "test"))
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, weight_decay=0.05)
    steps, batch = epochs * (len(images) // 128), 128
    for epoch in range(done, epochs):
        if monotonic() > end:
            break
        torch.manual_seed(epoch)
        module.train()
        order = torch.randperm(len(images), device=device)
        for number in range(len(images) // batch):
            step = epoch * (len(images) // batch) + number
            rate = 1e-3 * min(1, step / 500) * (1 + np.cos(np.pi * step / steps)) / 2
            optimizer.param_groups[0]["lr"] = rate
            rows = order[number * batch : (number + 1) * batch]
            with torch.autocast(torch.device(device).type, torch.bfloat16):
                loss = cross_entropy(module(normalized(augmented(images[rows]))), labels[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        whole = out / "vit.new"
        save_file({name: t.detach().cpu() for name, t in module.state_dict().items()}, whole, {"epochs": str(epoch + 1)})
        whole.replace(file)
    print(f"accuracy {accuracy(module, test, truth):.3f} on {len(test)} test pictures, after at most {epochs} epochs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    if not (asked.out / "train").is_dir():
        with zipfile.ZipFile(REAL / "cifar10" / "train.zip") as archive:
            archive.extractall(asked.out / "new")
        inner = next((asked.out / "new").rglob(CLASSES[0])).parent
        inner.rename(asked.out / "train")
    train(asked.out, asked.epochs, asked.minutes, asked.device)


if __name__ == "__main__":
    main()
