"""Networks of every family of timm, torchvision and transformers: the layer that is found, and what can be done with it.

    python tools/studies/networks.py --out docs/explanation/networks.csv              # all; adds what is not there yet
    python tools/studies/networks.py --out some.csv --only mvitv2 --only cait    # those whose names contain a word
    python tools/studies/networks.py --out docs/explanation/networks.csv --table      # the counts, in Markdown

One row per network, with random weights. A row has the feature layer and its grid, the share of its cells that reach the
logits, and four differences, each as a part of the largest value: ``run_from`` at the layer, and at a layer in the middle,
and a full run with a hook; and in float64 Grad-CAM at the layer and a literal re-writing, and two pictures together and one
at a time. An error is a row too. Each network has ``--seconds``, in a process of its own.
"""

import argparse
import csv
import multiprocessing
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

TIMM = """
beit_base_patch16_224 64 depth=3 embed_dim=48 num_heads=3 | beitv2_base_patch16_224 64 depth=2 embed_dim=48 num_heads=3
botnet26t_256 64 | eca_botnext26ts_256 64 | halo2botnet50ts_256 128 | halonet26t 256
lambda_resnet26t 64 | lamhalobotnet50ts_256 128 | sebotnet33ts_256 64
bat_resnext26ts 256 | eca_resnext26ts | gcresnet33ts | gcresnext26ts | gernet_s | mobileone_s1
regnetz_b16 | repvgg_a0 | resnet50_clip_gap | resnet50_clip 224 | resnet32ts | seresnext26ts | test_byobnet
cait_xxs24_224 64 depth=3 | coat_tiny 64 | coat_lite_tiny 64 | convit_tiny 64 depth=4 local_up_to_layer=2
convmixer_768_32 56 | convnext_zepto_rms | convnextv2_atto | test_convnext | cpubone_nano | crossvit_tiny_240 240
csatv2 256 | cs3darknet_focus_s
cspdarknet53 64 | cspresnet50 64 | cspresnext50 64 | darknet17 | darknetaa53 64 | sedarknet21
cspnext_tiny | davit_tiny 64 | deepseek_vit_412m 56 depth=2 embed_dim=48 num_heads=3
deit_tiny_patch16_224 64 depth=3 | deit_tiny_distilled_patch16_224 64 depth=3 | deit3_small_patch16_224 64 depth=3
densenet121 | densenetblur121d | dla46_c | dla34 | dla60x_c | dpn48b | dpn68 | edgenext_xx_small
efficientformer_l1 224 | efficientformerv2_s0 224 | efficientnet_lite0 | efficientnetv2_rw_t | fbnetc_100
gc_efficientnetv2_rw_t | mixnet_s | mnasnet_small | mobilenet_edgetpu_100 | mobilenetv1_100 | mobilenetv2_035
semnasnet_050 | spnasnet_100 | test_efficientnet | tf_efficientnet_lite0 | tinynet_e | efficientvim_m1 128
efficientvim_m1_dist 128 | efficientvit_b0 | efficientvit_m0 224 | eva02_tiny_patch14_224 56 depth=3
vit_tiny_patch16_dinov3_qkvb 64 depth=3 | fasternet_t0 | fastvit_t8 | fastvit_sa12 64 | focalnet_tiny_srf 64
gcvit_xxtiny 224 | gemma4_vit_167m 144 depth=2 | ghostnet_050 | ghostnetv2_100 | ghostnetv3_050 | hardcorenas_b
hgnet_tiny | hgnetv2_b0 | hiera_tiny_224 224 | hieradet_small 128 | sam2_hiera_tiny 128 | hrnet_w18_small 64
iformer_t | inception_next_atto | inception_resnet_v2 96 | inception_v3 96 | inception_v4 96 | lcnetv2_small
levit_128s 224 | levit_conv_128s 224 | lowformer_b0 | mambaout_femto | test_mambaout | coatnet_pico_rw_224 128
coatnext_nano_rw_224 128 | maxvit_pico_rw_256 128 | maxxvit_rmlp_nano_rw_256 128 | maxxvitv2_nano_rw_256 128
test_coatnet 128 | caformer_s18 64 | convformer_s18 64 | poolformer_s12 | poolformerv2_s12 | gmixer_12_224 224
gmlp_ti16_224 224 | mixer_s32_224 224 | resmlp_12_224 224 | fbnetv3_b | lcnet_035
mobilenetv3_small_050 | mobilenetv4_conv_small_035 | mobilenetv4_hybrid_medium 64 | tf_mobilenetv3_small_075
mobilenetv5_base 64 | mobilevit_xxs | mobilevitv2_050 | mvitv2_tiny 64 | mvitv2_small_cls 64
naflexvit_base_patch16_gap 64 depth=2 embed_dim=48 num_heads=3 | nest_tiny 64 | nextvit_small 64 | eca_nfnet_l0 64
nf_regnet_b0 | test_nfnet | pit_ti_224 224 | pit_ti_distilled_224 224 | pvt_v2_b0 | qwen3_vit_88m 96 depth=2 | rdnet_tiny 64
regnetv_040 64 | regnetx_002 | regnety_002 | regnetz_005 | repghostnet_050 | repvit_m1 | repvit_m0_9 | res2net50_14w_8s 64
res2next50 64 | resnest14d | resnest26d | ecaresnet26t | ecaresnetlight 64 | ecaresnext26t_32x4d 64 | resnet10t
resnet18 | resnetaa34d | resnetblur18 | resnetrs50 64 | resnext50_32x4d 64 | seresnet18 | seresnetaa50d 64
seresnext26t_32x4d 64 | test_resnet | resnetv2_18 | rexnet_100 | rexnetr_100 | selecsls42 64
legacy_seresnet18 | sequencer2d_s 64 | shvit_s1 | skresnet18 | skresnext50_32x4d 64 | starnet_s050 | swiftformer_xs 224
swin_tiny_patch4_window7_224 64 embed_dim=24 depths=2,2,2,2 window_size=4 | swin_s3_tiny_224 224
swinv2_tiny_window8_256 64 window_size=4 | swinv2_cr_tiny_224 64 window_size=2 | tiny_vit_5m_224 224
tnt_s_patch16_224 64 depth=3 | tresnet_m 64 | twins_svt_small 64 | twins_pcpvt_small 64 | vgg11 64 | vgg11_bn 64
visformer_tiny 224 | aimv2_1b_patch14_224 56 depth=2 embed_dim=48 num_heads=3 | beit3_base_patch16_224 64 depth=2
flexivit_small 64 depth=2 | test_vit 64 | vit_tiny_patch16_224 64 | vit_small_patch14_reg4_dinov2 56 depth=3
vit_tiny_r_s16_p8_224 96 | vit_srelpos_small_patch16_224 64 depth=3 | vit_relpos_small_patch16_rpn_224 64 depth=3
samvit_base_patch16_224 64 depth=2 | vitamin_small_224 64 | volo_d1_224 96 | eca_vovnet39b 64 | ese_vovnet19b_slim_dw
vovnet39a 64 | legacy_xception 96 | xception41p 64 | xcit_nano_12_p16_224 64
"""
"""Name, pixels a side (96 where none are given) and options of the architecture: the smallest of each family of timm."""

TORCHVISION = """
alexnet 128 | convnext_tiny 64 | densenet121 | efficientnet_b0 | efficientnet_v2_s 64 | googlenet aux_logits=0
inception_v3 128 aux_logits=0 | maxvit_t 224 | mnasnet0_5 | mobilenet_v2 | mobilenet_v3_small | regnet_x_400mf
regnet_y_400mf | resnet18 | resnext50_32x4d 64 | wide_resnet50_2 64 | shufflenet_v2_x0_5 | squeezenet1_1 128 | swin_t 64
swin_v2_t 64 | vgg11 64 | vit_b_32 224
"""
"""As above, for torchvision."""

PLAIN = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 64}
VIT = {**PLAIN, "patch_size": 16}
SWIN = {"embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4, "image_size": 64, "patch_size": 4}
FOUR = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}
TRANSFORMERS: dict[str, tuple[int, dict[str, Any]]] = {
    "Beit": (64, VIT),
    "Bit": (64, {"embedding_size": 8, "hidden_sizes": [8, 16, 32], "depths": [1, 1, 2], "num_groups": 4}),
    "CLIP": (64, {"vision_config": VIT, "text_config": {**PLAIN, "vocab_size": 99}}),
    "ConvNext": (96, FOUR),
    "ConvNextV2": (96, FOUR),
    "Cvt": (64, {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3]}),
    "Data2VecVision": (64, VIT),
    "DeiT": (64, VIT),
    "Dinov2": (56, {**PLAIN, "patch_size": 14, "image_size": 56}),
    "Dinov2WithRegisters": (56, {**PLAIN, "patch_size": 14, "image_size": 56}),
    "DonutSwin": (64, SWIN),
    "EfficientNet": (96, {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}),
    "FocalNet": (64, {"embed_dim": 12, "depths": [1, 2], "focal_levels": [2, 2], "focal_windows": [3, 3], "image_size": 64}),
    "HGNetV2": (64, {}),
    "Hiera": (
        64,
        {"embed_dim": 16, "image_size": [64, 64], "depths": [1, 2], "num_heads": [1, 2], "num_query_pool": 1},
    ),
    "IJepa": (64, VIT),
    "Levit": (128, {"image_size": 128}),
    "MetaClip2": (64, {"vision_config": VIT, "text_config": {**PLAIN, "vocab_size": 99}}),
    "MobileNetV1": (96, {"depth_multiplier": 0.25}),
    "MobileNetV2": (96, {"depth_multiplier": 0.35}),
    "MobileViT": (96, {"image_size": 96, "hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 8, 16, 24, 32, 40, 80]}),
    "MobileViTV2": (96, {"image_size": 96, "width_multiplier": 0.5}),
    "PoolFormer": (96, {**FOUR, "mlp_ratio": 2.0}),
    "PPLCNet": (96, {"scale": 0.5}),
    "Pvt": (64, {"image_size": 64, "hidden_sizes": [8, 16, 40, 64], "depths": [1, 1, 2, 1]}),
    "PvtV2": (64, {"image_size": 64, "hidden_sizes": [8, 16, 40, 64], "depths": [1, 1, 2, 1]}),
    "RegNet": (96, {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 2], "groups_width": 8}),
    "ResNet": (96, {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 2]}),
    "Segformer": (64, {"hidden_sizes": [8, 16, 40, 64], "depths": [1, 1, 2, 1]}),
    "Siglip": (64, {"vision_config": VIT, "text_config": {**PLAIN, "vocab_size": 99}}),
    "SwiftFormer": (224, {"embed_dims": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}),
    "Swin": (64, SWIN),
    "Swinv2": (64, SWIN),
    "TextNet": (64, {}),
    "ViT": (64, VIT),
    "ViTMSN": (64, VIT),
}
"""Pixels a side and options of the configuration, for each family of transformers with a head for pictures.

ImageGPT, SigLIP2 and Perceiver take no pictures (n, c, h, w) but tokens, patches and named inputs.
"""

FIELDS = (
    "library", "name", "size", "parameters", "layer", "grid", "prefix", "living", "later_dead", "later_branches",
    "grad_cam", "run_from", "middle", "run_from_middle", "batch", "passes", "error",
)  # fmt: skip
EXACT = {"grad_cam": 1e-9, "run_from": 1e-5, "run_from_middle": 1e-5, "batch": 1e-9}
"""Two results are the same if they differ by less than this part of the largest value."""


def builders() -> dict[tuple[str, str], tuple[int, Callable[[], nn.Module]]]:
    """Library and name, with pixels a side and the function that builds the network."""
    found: dict[tuple[str, str], tuple[int, Callable[[], nn.Module]]] = {}
    for library, lines, build in (("timm", TIMM, from_timm), ("torchvision", TORCHVISION, from_torchvision)):
        for line in lines.strip().replace("\n", "|").split("|"):
            name, *rest = line.split()
            size = int(rest.pop(0)) if rest and rest[0].isdigit() else 96
            options = {key: numbers(value) for key, value in (part.split("=") for part in rest)}
            found[library, name] = size, lambda n=name, s=size, o=options, b=build: b(n, s, o)
    for name, (size, options) in TRANSFORMERS.items():
        found["transformers", name] = size, lambda n=name, o=options: from_transformers(n, o)
    return found


def numbers(text: str) -> int | tuple[int, ...]:
    several = tuple(int(part) for part in text.split(","))
    return several if len(several) > 1 else several[0]


def from_timm(name: str, size: int, options: dict[str, Any]) -> nn.Module:
    import timm

    try:
        return timm.create_model(name, pretrained=False, num_classes=10, img_size=size, **options)
    except TypeError:  # an architecture that takes pictures of any size has no such option
        return timm.create_model(name, pretrained=False, num_classes=10, **options)


def from_torchvision(name: str, _size: int, options: dict[str, Any]) -> nn.Module:
    import torchvision

    if name in {"inception_v3", "googlenet"}:
        options = {"init_weights": False, **{key: bool(value) for key, value in options.items()}}
    return torchvision.models.get_model(name, weights=None, num_classes=10, **options)


def from_transformers(name: str, options: dict[str, Any]) -> nn.Module:
    import transformers

    config = getattr(transformers, f"{name}Config")(**options)
    config.num_labels = 10
    return getattr(transformers, f"{name}ForImageClassification")(config)


def lively(module: nn.Module) -> nn.Module:
    """With scales, statistics and heads that are not zero: many networks begin with such, which hide what is behind them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in [*module.parameters(), *module.buffers()]:
            if p.is_floating_point() and p.numel() and ((p == p.flatten()[0]).all() or p.abs().max() < 1e-4):
                noise = 0.1 * torch.randn(p.shape, generator=generator)
                p.copy_(noise if p.flatten()[0] == 0 else 1 + noise)
    return module.eval()


def row(library: str, name: str, layers_only: bool) -> dict[str, object]:
    """What is found out about one network."""
    from seewhy.classifier.classifier import Classifier
    from seewhy.explainers import explainer

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, build = builders()[library, name]
    found: dict[str, object] = {"library": library, "name": name, "size": size}
    module = lively(build())
    found["parameters"] = sum(p.numel() for p in module.parameters())
    classifier = Classifier(module, input_size=(size, size))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    one = timed(lambda: classifier.logits(images[:1]))
    found["passes"] = round(timed(lambda: classifier.layer) / one, 1)
    found["layer"] = layer = classifier.layer
    if layers_only:
        return found
    stages = classifier._survey.stages
    place = [stage.name for stage in stages].index(layer)
    stage, later = stages[place], stages[place + 1 :]
    grid = "x".join(map(str, stage.reading.grid))
    found |= {"grid": grid, "prefix": stage.reading.prefix, "living": round(stage.living, 3)}
    found |= {"later_dead": sum(s.living <= 0.5 for s in later), "later_branches": sum(s.living > 0.5 for s in later)}

    found["run_from"] = part(*both_runs(classifier, layer, images))
    found["middle"] = stages[len(stages) // 2].name
    found["run_from_middle"] = part(*both_runs(classifier, stages[len(stages) // 2].name, images))
    module.double()
    images, targets = images.double(), torch.tensor([1, 3])
    maps = explainer("grad_cam", classifier).explain(images, targets)
    literal, alone = zip(
        *(literal_grad_cam(classifier, layer, *one) for one in zip(images, targets, strict=True)), strict=True
    )
    assert maps.shape == images[:, 0].shape
    found["grad_cam"] = part(maps, torch.stack(literal))
    with torch.no_grad():
        found["batch"] = part(classifier.logits(images), torch.stack(alone))
    return found


def part(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float(f"{float((a - b).abs().max() / b.abs().max().clamp_min(1e-30)):.1e}")


def timed(run: Callable[[], object]) -> float:
    """Seconds of this process."""
    start = time.process_time()
    with torch.no_grad():
        run()
    return max(time.process_time() - start, 1e-4)


def first(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    return next(v for v in (output.values() if hasattr(output, "values") else output) if isinstance(v, Tensor))


def literal_grad_cam(classifier: Any, layer: str, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Of one picture, with plain hooks: the mean gradient of a channel, times the channel, summed, cut. And the logits."""
    kept: list[Tensor] = []
    module = classifier.module.get_submodule(layer)
    reading = classifier._survey.stage(layer).reading
    gh, gw = reading.grid

    def keep(_m: nn.Module, _a: object, output: Any) -> Any:
        kept.append(first(output))
        return output.clone() if isinstance(output, Tensor) else None  # an operation in place may follow

    handle = module.register_forward_hook(keep)
    logits = classifier.logits(image[None].clone().requires_grad_())[0]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[target], kept[-1])
    a, g = kept[-1].detach()[0], gradient[0]
    if a.ndim == 2:
        a, g = a[reading.prefix :].reshape(gh, gw, -1), g[reading.prefix :].reshape(gh, gw, -1)
    elif not reading.channels_last:
        a, g = a.permute(1, 2, 0), g.permute(1, 2, 0)
    coarse = a.new_zeros(gh, gw)
    for d in range(a.shape[2]):
        coarse += g[:, :, d].sum() / (gh * gw) * a[:, :, d]
    return interpolate(coarse.clamp_min(0)[None, None], image.shape[-2:], mode="bilinear")[0, 0], logits.detach()


def both_runs(classifier: Any, layer: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of ``run_from`` with two changed rows for each image, and of a full run in which a hook changes the layer."""
    recorded, _ = classifier.record(images, layer)
    noise = torch.randn(2 * len(recorded.features), *recorded.features.shape[1:])
    scale = recorded.features.std()
    rows = recorded.features.unflatten(0, (len(images), -1)).repeat_interleave(2, 0).flatten(0, 1) + 0.1 * scale * noise
    with torch.no_grad():
        ours = classifier.run_from(recorded, rows, images)
        module, calls = classifier.module.get_submodule(layer), [0, 0]

        def exchange(_m: nn.Module, _a: object, output: Any) -> Any:
            calls[0] += 1
            if calls[0] < calls[1]:
                return None
            if isinstance(output, Tensor):
                return rows.clone()
            if isinstance(output, tuple | list):
                index = next(i for i, v in enumerate(output) if isinstance(v, Tensor))
                return type(output)([*output[:index], rows.clone(), *output[index + 1 :]])
            output[next(k for k, v in output.items() if isinstance(v, Tensor))] = rows.clone()
            return output

        counter = module.register_forward_hook(lambda *_: calls.__setitem__(1, calls[1] + 1))
        classifier.logits(images)
        counter.remove()
        handle = module.register_forward_hook(exchange)
        theirs = classifier.logits(images.repeat_interleave(2, 0))
        handle.remove()
    return ours, theirs


Row = Callable[..., dict[str, object]]
"""What is found out about the network of a library and a name."""


def job(make: Row, given: tuple[object, ...], connection: Any) -> None:
    try:
        connection.send(make(*given))
    except Exception as error:  # a network of another library may fail in any way, and that is a row of the table
        line = str(error).splitlines()[0] if str(error) else ""
        connection.send({"error": f"{type(error).__name__}: {line}"[:160]})


def with_limit(make: Row, library: str, name: str, *more: object, seconds: float) -> dict[str, object]:
    """The row, or what went wrong; in a process of its own, which is ended after so many seconds."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=job, args=(make, (library, name, *more), theirs))
    process.start()
    theirs.close()
    try:
        found: dict[str, object] = ours.recv() if ours.poll(seconds) else {"error": "too slow"}
    except EOFError:
        found = {"error": "the process ended"}
    process.kill()
    process.join()
    return {"library": library, "name": name, **found}


def table(rows: list[dict[str, str]]) -> str:
    """How many networks each library has, and how many of their numbers are as they should be."""
    kinds = "networks | with an error | most cells live | Grad-CAM | run_from | in the middle | batch"
    lines = [f"| library | {kinds} |", "|---|" + "---|" * 7]
    for library in dict.fromkeys(r["library"] for r in rows):
        some = [r for r in rows if r["library"] == library]
        done = [r for r in some if not r["error"]]
        counts = [len(some), len(some) - len(done), sum(float(r["living"]) > 0.5 for r in done)]
        counts += [sum(float(r[key]) < most for r in done) for key, most in EXACT.items()]
        lines.append(f"| {library} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="csv file, to which rows are added")
    parser.add_argument("--only", action="append", help="a word in the names; may be repeated")
    parser.add_argument("--seconds", type=float, default=60, help="time that a network has")
    parser.add_argument("--layers-only", action="store_true", help="only the layer that is found")
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="every N-th network from I on")
    parser.add_argument("--table", action="store_true", help="print the counts, run nothing")
    given = parser.parse_args()
    rows = list(csv.DictReader(given.out.open())) if given.out.exists() else []
    if given.table:
        print(table(rows))
        return
    import timm  # noqa: F401  imported once, before the processes are made
    import torchvision  # noqa: F401
    import transformers  # noqa: F401

    import seewhy.explainers  # noqa: F401

    there = {(r["library"], r["name"]) for r in rows}
    with given.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for library, name in list(builders())[given.part[0] :: given.part[1]]:
            if (library, name) in there or (given.only and not any(word in name for word in given.only)):
                continue
            found = with_limit(row, library, name, given.layers_only, seconds=given.seconds)
            writer.writerow(found)
            file.flush()
            print(*(f"{key}={value}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
