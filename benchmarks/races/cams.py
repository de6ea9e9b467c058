"""CAM methods and active saliency beside grad-cam and a loop of backward passes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from race import IDENTITY, Race, Run, images, network, predicted
from torch import Tensor, nn

import seewhy
from seewhy.explainers import AblationCAM, ActiveSaliency, GradCAM, ScoreCAM
from seewhy.maps import min_max


def ours_all_classes(k: int) -> Callable[[nn.Module, Tensor], Run]:
    def set_up(module: nn.Module, x: Tensor) -> Run:
        explainer = GradCAM(seewhy.Classifier(module, **IDENTITY), layer="layer4", batch_size=100)
        return lambda: _display(explainer.explain_classes(x, torch.arange(k))[0])

    return set_up


def grad_cam_all_classes(k: int, batch: int) -> Callable[[nn.Module, Tensor], Run]:
    """The rival's own way to many classes: the image repeated, a target each, ``batch`` at a time."""

    def set_up(module: nn.Module, x: Tensor) -> Run:
        from pytorch_grad_cam import GradCAM as Rival
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        rival = Rival(model=module, target_layers=[module.layer4])

        def run() -> NDArray[np.float32]:
            maps = []
            for first in range(0, k, batch):
                some = range(first, min(first + batch, k))
                copies = x.expand(len(some), -1, -1, -1)
                maps.append(rival(input_tensor=copies, targets=[ClassifierOutputTarget(c) for c in some]))
            return np.concatenate(maps)

        return run

    return set_up


def ours_one_target(module: nn.Module, x: Tensor) -> Run:
    explainer, targets = GradCAM(seewhy.Classifier(module, **IDENTITY), layer="layer4"), predicted(module, x)
    return lambda: _display(explainer.explain(x, targets))


def grad_cam_one_target(module: nn.Module, x: Tensor) -> Run:
    from pytorch_grad_cam import GradCAM as Rival
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    rival = Rival(model=module, target_layers=[module.layer4])
    targets = [ClassifierOutputTarget(int(c)) for c in predicted(module, x)]
    return lambda: rival(input_tensor=x, targets=targets)


def ours_active(module: nn.Module, x: Tensor) -> Run:
    explainer = ActiveSaliency(seewhy.Classifier(module, **IDENTITY))
    return lambda: _relative(explainer.explain(x, torch.zeros(len(x), dtype=torch.long)))


def loop_active(module: nn.Module, x: Tensor) -> Run:
    """One forward pass, then ``backward`` for each class, parameter gradients and all; equation 5 at the end."""

    def run() -> NDArray[np.float32]:
        image = x.clone().requires_grad_()
        logits = module(image)
        target, highest = None, None
        for c in range(logits.shape[1]):
            image.grad = None
            logits[:, c].sum().backward(retain_graph=True)
            gradient = image.grad
            assert gradient is not None
            target = gradient if target is None else target
            highest = gradient if highest is None else torch.maximum(highest, gradient)
        assert target is not None
        return _relative(torch.where(target == highest, target, 0).amax(1))

    return run


def ours_ablation(closed_form: bool) -> Callable[[nn.Module, Tensor], Run]:
    """The channel weights are compared; the map is made as well."""

    def set_up(module: nn.Module, x: Tensor) -> Run:
        kept: list[Tensor] = []

        class Watched(AblationCAM):
            def weights(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
                weights, features = super().weights(images, classes)
                kept[:] = [weights]
                return weights, features

        classifier = seewhy.Classifier(module, **IDENTITY)
        explainer = Watched(classifier, layer="layer4", relative=True, closed_form=closed_form)
        targets = predicted(module, x)

        def run() -> NDArray[np.float32]:
            explainer.explain(x, targets)
            return _relative(kept[0])[:, 0]

        return run

    return set_up


def grad_cam_ablation(batch: int) -> Callable[[nn.Module, Tensor], Run]:
    def set_up(module: nn.Module, x: Tensor) -> Run:
        from pytorch_grad_cam import AblationCAM as Rival
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        kept: list[NDArray[np.float32]] = []

        class Watched(Rival):
            def get_cam_weights(self, *arguments: object) -> NDArray[np.float32]:
                kept[:] = [super().get_cam_weights(*arguments)]
                return kept[0]

        targets = [ClassifierOutputTarget(int(c)) for c in predicted(module, x)]

        def run() -> NDArray[np.float32]:
            Watched(model=module, target_layers=[module.layer4], batch_size=batch)(input_tensor=x, targets=targets)
            return _relative(torch.from_numpy(kept[0]))

        return run

    return set_up


def ours_score(module: nn.Module, x: Tensor) -> Run:
    classifier, targets = seewhy.Classifier(module, **IDENTITY), predicted(module, x)
    explainer = ScoreCAM(classifier, layer="layer4", selector="logit", align_corners=True)
    return lambda: _display(explainer.explain(x, targets))


def grad_cam_score(batch: int) -> Callable[[nn.Module, Tensor], Run]:
    def set_up(module: nn.Module, x: Tensor) -> Run:
        from pytorch_grad_cam import ScoreCAM as Rival
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        rival = Rival(model=module, target_layers=[module.layer4])
        rival.batch_size = batch
        targets = [ClassifierOutputTarget(int(c)) for c in predicted(module, x)]
        return lambda: rival(input_tensor=x, targets=targets)

    return set_up


def _display(maps: Tensor) -> NDArray[np.float32]:
    """The rival rescales every map to [0, 1] before it returns it."""
    return min_max(maps).numpy()


def _relative(maps: Tensor) -> NDArray[np.float32]:
    return (maps / maps.abs().amax()).numpy()


RACES: dict[str, Race] = {
    "grad_cam_100_classes": Race(
        "Grad-CAM of 100 classes, ResNet-18, one image of 224 x 224",
        network("resnet18", 100),
        images(1),
        {
            "seewhy explain_classes": ours_all_classes(100),
            "grad-cam, batches of 1": grad_cam_all_classes(100, 1),
            "grad-cam, batches of 16": grad_cam_all_classes(100, 16),
        },
    ),
    "grad_cam_one_target": Race(
        "Grad-CAM of one class, ResNet-18, one image of 224 x 224",
        network("resnet18", 1000),
        images(1),
        {"seewhy explain": ours_one_target, "grad-cam": grad_cam_one_target},
        repeats=21,
    ),
    "grad_cam_one_target_batch": Race(
        "Grad-CAM of one class, ResNet-50, eight images of 224 x 224",
        network("resnet50", 1000),
        images(8),
        {"seewhy explain": ours_one_target, "grad-cam": grad_cam_one_target},
        floor=8,
    ),
    "active_saliency_1000_classes": Race(
        "Active saliency, 1000 classes, ResNet-18, one image of 224 x 224",
        network("resnet18", 1000),
        images(1),
        {"seewhy active_saliency": ours_active, "loop of backward passes": loop_active},
        repeats=3,
    ),
    "ablation_cam_one_target": Race(
        "Channel weights of Ablation-CAM for one of 1000 classes, ResNet-18, one image of 224 x 224",
        network("resnet18", 1000),
        images(1),
        {
            "seewhy, closed form": ours_ablation(True),
            "seewhy, run_from": ours_ablation(False),
            "grad-cam, batches of 8": grad_cam_ablation(8),
            "grad-cam, batches of 32": grad_cam_ablation(32),
        },
        repeats=3,
    ),
    "score_cam_one_target": Race(
        "Score-CAM for one of 1000 classes, ResNet-18, one image of 224 x 224",
        network("resnet18", 1000),
        images(1),
        {
            "seewhy, batches of 32": ours_score,
            "grad-cam, batches of 16": grad_cam_score(16),
            "grad-cam, batches of 32": grad_cam_score(32),
        },
        repeats=3,
    ),
}
