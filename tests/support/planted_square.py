"""A problem whose answer is known: a network that answers 1 where a picture has a bright red square."""

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.learned.learned_explainer import LearnedExplainer

SIZE, SIDE = 16, 6


class BrightSquare(nn.Module):
    """Logits of no, red square and blue square: the mean of red, and of blue, over the picture. It has two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, 2, 1)
        self.head = nn.Linear(4, 3)
        with torch.no_grad():
            for layer in (self.first, self.second, self.head):
                layer.weight.zero_()
                layer.bias.zero_()
            self.first.weight[0, 0, 1, 1] = self.first.weight[1, 2, 1, 1] = 1  # red, blue
            self.first.weight[2, 1, 1, 1] = self.first.weight[3, 1, 0, 0] = 1  # green
            self.first.bias[:2] = -0.4
            for channel in range(4):
                self.second.weight[channel, channel, 1, 1] = 1
            self.head.weight[1, 0] = self.head.weight[2, 1] = 100
            self.head.bias[0] = 3

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


def bright_square() -> tuple[Classifier, Tensor]:
    """The network, and a picture with a red square in the middle."""
    module = BrightSquare()
    classifier = Classifier(module, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), input_size=(SIZE, SIZE))
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[0, 0, 4:10, 4:10] = 1
    return classifier, picture


def pictures_with_squares(n: int, seed: int, channel: int = 0) -> tuple[Tensor, Tensor]:
    """n pictures (n, 3, h, w) of noise with a square of one color, and the squares (n, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(n, 3, SIZE, SIZE, generator=generator)
    where = torch.zeros(n, SIZE, SIZE)
    for i, (y, x) in enumerate(torch.randint(0, SIZE - SIDE + 1, (n, 2), generator=generator).tolist()):
        where[i, y : y + SIDE, x : x + SIDE] = 1
    images[:, channel] = torch.where(where > 0, 0.9, images[:, channel])
    return images, where


def trained(method: LearnedExplainer, images: Tensor, steps: int, labels: Tensor | None = None) -> LearnedExplainer:
    """The method after steps of Adam on batches of 16."""
    method = method.untrained()
    generator = torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(method.ready.parameters(), lr=1e-2)
    for _ in range(steps):
        rows = torch.randperm(len(images), generator=generator)[:16]
        seen = method.see(images[rows], None if labels is None else labels[rows])
        method.ready.train()
        with method.classifier.running(gradients=True):
            terms = method.loss(seen, generator).terms
            adam.zero_grad()
            torch.stack([*terms.values()]).sum().backward()
        adam.step()
    method.ready.eval()
    return method
