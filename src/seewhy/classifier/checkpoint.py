"""Weights from a file into a network; one clear line when they do not fit.

A trainer keeps the weights of the network under names of its own, beside weights of losses, averages and teachers. So the
file is searched for the one place, and the one prefix, under which all names of the network exist.
"""

import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from pickletools import genops
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy.classifier.foreign_files import what_is_foreign
from seewhy.classifier.hub_names import from_hub, hub_tensors
from seewhy.errors import SeewhyError, cause
from seewhy.files import did_you_mean_file
from seewhy.process import without_warnings

DEEPEST = 50
"""Mappings within mappings that are searched for weights."""
AVERAGED = re.compile(r"(^|[._])(ema|averaged?|swa)([._]|\d|$)")
"""How trainers name an average of the weights, which they keep beside the last weights."""
COUNTS = "num_batches_tracked"
"""A count of training steps: old checkpoints lack it, and no layer reads it in eval mode."""


class TensorTable(NamedTuple):
    """The tensors of one mapping in a file; ``place`` are the keys that lead to the mapping."""

    place: tuple[str, ...]
    tensors: dict[str, Tensor]


class Found(NamedTuple):
    """The weights of a network in a file.

    weights   by the network's own names
    said      where in the file they are, and what was left out; empty if the file holds nothing else
    from_hub  are the names those that Transformers gives the network in its files?
    """

    path: Path
    weights: dict[str, Tensor]
    said: str
    from_hub: bool = False


class _Placeholder:
    """Stands for an object in a pickle that is no tensor, such as a trainer's settings. Its class is never run."""

    def __new__(cls, *_: object, **__: object) -> "_Placeholder":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """The object's state is not kept."""


def load_weights(module: nn.Module, path: str | Path, place: str | None = None) -> str:
    """Load the weights in ``path`` into ``module``: safetensors, or a pickle, of which only tensors are read.

    The weights may lie anywhere in the file, and their names may have any prefix: ``state_dict``, ``net``, ``module.``,
    ``model.``. An average (EMA) is preferred to the last weights beside it. Nothing in the file is executed.

    Args:
        module: is changed only if all weights fit.
        path: the file.
        place: where the weights are, if the file holds several that fit, such as "teacher" or "state_dict.teacher".

    Returns:
        Where in the file the weights were, and what was left out; empty if the file holds nothing else.

    Raises:
        SeewhyError: there are no such weights, several, or they are not those of the network; it names the keys.
    """
    found = find_weights(module, path, place)
    put_weights(module, found)
    return found.said


def find_weights(module: nn.Module, path: str | Path, place: str | None = None) -> Found:
    """The weights in ``path`` that have the names of ``module``; arguments and errors as in ``load_weights``.

    Their shapes may be others: ``classes_of_head`` and ``put_weights`` look at these.
    """
    path, own, hub = Path(path), list(tensors_of(module)), list(hub_tensors(module))
    tables = _read(path)
    for names in (own, hub):
        whole = _whole(tables, [name for name in names if not name.endswith(COUNTS)])
        if whole:
            (table, prefix), preferred = _chosen(whole, tables, path, type(module).__name__, place)
            break
    else:
        every = [(table, prefix, n) for table in tables for prefix, n in _prefixes(table, own)]
        most = (max(tables, key=lambda table: len(table.tensors)), "", 0)
        table, prefix, _ = max(every, key=lambda one: one[2], default=most)
        names, preferred = own, False
    weights = {name.removeprefix(prefix): t for name, t in table.tensors.items() if name.startswith(prefix)}
    said = f"under {_name(table, prefix)}" if _name(table, prefix) else ""
    others = [name for name in table.tensors if not name.startswith(prefix)]
    said += "; an average of the weights, preferred to the last ones" if preferred else ""
    said += f"; left out: {_listed(others)}" if others else ""
    return Found(path, weights, said, names is hub)


def _whole(tables: list[TensorTable], names: list[str]) -> list[tuple[TensorTable, str]]:
    """The tables and prefixes under which all ``names`` exist, without those that hold the same tensors as another."""
    return _distinct([(t, prefix) for t in tables for prefix, n in _prefixes(t, names) if n == len(names)])


def _chosen(
    whole: list[tuple[TensorTable, str]], tables: list[TensorTable], path: Path, kind: str, place: str | None
) -> tuple[tuple[TensorTable, str], bool]:
    """The place that is asked for, or the only one, or the average; and whether it is an average beside other weights."""
    known = [_name(*one) for one in whole]
    if place is not None:
        asked = [one for one, name in zip(whole, known, strict=True) if place.strip(".") in (name, one[1].strip("."))]
        if len(asked) != 1:
            raise SeewhyError(f"{path} has no weights of {kind} under {place!r}; it has {_listed(known)}")
        return asked[0], False
    averages = [one for one in whole if _is_average(*one, tables)]
    if len(whole) == 2 and len(averages) == 1:
        return averages[0], True
    if len(whole) > 1:
        places = _listed([repr(name) for name in known])
        raise SeewhyError(
            f"{path} holds weights that fit {kind} under {places}: choose with the option weights_place={known[0]}"
        )
    return whole[0], False


def classes_of_head(module: nn.Module, found: Found) -> int | None:
    """The number of classes of the weights, if they are those of ``module`` but for this number; else None."""
    own = hub_tensors(module) if found.from_hub else tensors_of(module)
    pairs = [(own[k].shape, t.shape) for k, t in found.weights.items() if k in own and own[k].shape != t.shape]
    numbers = {(a[:1], b[:1]) for a, b in pairs}
    if len(numbers) != 1 or any(a[1:] != b[1:] for a, b in pairs) or not all(len(b) for _, b in pairs):
        return None
    ((_, (k,)),) = numbers
    return k


def put_weights(module: nn.Module, found: Found) -> None:
    """Load the weights into ``module``; SeewhyError with the keys, and an untouched module, if they are not its own."""
    own = hub_tensors(module) if found.from_hub else tensors_of(module)
    weights = found.weights
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    known = [k for k in weights if k in own]
    other = [k for k in known if weights[k].shape != own[k].shape]
    wrong = {
        "missing": [k for k in own if k not in weights and not k.endswith(COUNTS)],
        "not in the network": [k for k in weights if k not in own],
        "of another shape": [f"{k} is {tuple(weights[k].shape)}, the network has {tuple(own[k].shape)}" for k in other],
        "of a wrong type": [f"{k} is {fault}" for k in known if (fault := _type_fault(weights[k], own[k], k))],
    }
    if not any(wrong.values()):
        wrong["not finite"] = [k for k in known if not _is_finite(weights[k], k in parameters)]
    if any(wrong.values()):
        said = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in wrong.items() if keys)
        raise SeewhyError(f"the weights in {found.path} do not fit {type(module).__name__}: {said}")
    module.load_state_dict(from_hub(module, weights) if found.from_hub else weights, strict=False)


def fitting(path: Path, networks: Iterable[tuple[str, nn.Module]]) -> Iterator[str]:
    """The names of those networks of which the file holds all weights and no others, but for the number of classes."""
    tables = _read(path)
    for name, module in networks:
        own = [key for key in tensors_of(module) if not key.endswith(COUNTS)]
        for table, prefix in _whole(tables, own):
            mine = {key.removeprefix(prefix): t for key, t in table.tensors.items() if key.startswith(prefix)}
            same = all(mine[key].shape == t.shape for key, t in tensors_of(module).items() if key in own)
            complete = len(own) == sum(not key.endswith(COUNTS) for key in mine)
            if complete and (same or classes_of_head(module, Found(path, mine, "")) is not None):
                yield name
                break


def names_in(path: Path) -> list[str]:
    """The names of all tensors in a file; SeewhyError where it holds none."""
    return [name for table in _read(path) for name in table.tensors]


def module_class_in(path: Path) -> str | None:
    """The class of a network that was pickled as a whole; None for other files. Nothing in the file is executed."""
    if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        named = [] if len(pickles) != 1 else list(genops(archive.read(pickles[0])))
    classes = [str(argument).replace(" ", ".") for opcode, argument, _ in named if opcode.name == "GLOBAL"]
    has_layers = any(name.startswith("torch.nn.modules.") for name in classes)
    return next((name for name in classes if not name.startswith(("torch._", "collections."))), None) if has_layers else None


def must_be_sound(module: nn.Module, name: str) -> None:
    """SeewhyError for a network without weights (on the meta device), or whose weights are NaN or of a wrong type."""
    tensors = tensors_of(module)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    faults = {
        "have a wrong type": [f"{k} is {fault}" for k, t in tensors.items() if (fault := _type_fault(t, t, k))],
        "hold whole numbers": [k for k, t in parameters.items() if not (t.is_floating_point() or t.is_complex())],
    }
    if not any(faults.values()):
        faults["are not finite"] = [k for k, t in tensors.items() if not _is_finite(t, k in parameters)]
    for what, keys in faults.items():
        if keys:
            raise SeewhyError(f"{len(keys)} weights of {name} {what}: {_listed(keys)}")


def must_hold_numbers(folder: Path) -> None:
    """SeewhyError for weights in the files of ``folder`` that are no floating-point numbers.

    The libraries that read such a folder convert them without a word. Pickles are read only where there is no file of
    safetensors, as Transformers and timm do.
    """
    safe, *pickles = (sorted(folder.glob(f"*model*.{kind}")) for kind in ("safetensors", "bin", "pth"))
    for file in safe or [file for files in pickles for file in files]:
        wrong = [f"{k} is {t}" for k, t in _types(file).items() if k.endswith(("weight", "bias", "_mean", "_var"))]
        if wrong:
            raise SeewhyError(f"{len(wrong)} weights in {file} are of a wrong type: {_listed(wrong)}")


def _types(file: Path) -> dict[str, str]:
    """The tensors of a file that are no floating-point numbers, by name, with their type."""
    if file.suffix == ".safetensors":  # its header says the types, so that no weights are read
        with safe_open(file, framework="pt") as opened:
            types = {name: str(opened.get_slice(name).get_dtype()) for name in opened.keys()}  # noqa: SIM118
        return {name: kind for name, kind in types.items() if not kind.startswith(("F", "BF"))}
    tensors = {name: t for table in _read(file, mapped=True) for name, t in table.tensors.items()}
    kinds = {name: _type_fault(t, t, name) or str(t.dtype).removeprefix("torch.") for name, t in tensors.items()}
    return {name: kind for name, kind in kinds.items() if not kind.startswith(("float", "bfloat"))}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers by name; a layer may keep other things beside them."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}


def _type_fault(given: Tensor, own: Tensor, name: str) -> str:
    """What is wrong with the type of the tensor ``given`` for a network's ``own``; empty if nothing is."""
    if given.is_meta:
        return "on the meta device, without numbers"
    if given.is_quantized:
        return "quantized"
    if given.layout != torch.strided:
        return "sparse"
    kinds = [(t.is_floating_point(), t.is_complex()) for t in (given, own)]
    return "" if kinds[0] == kinds[1] or name.endswith(COUNTS) else str(given.dtype).removeprefix("torch.")


def _is_finite(tensor: Tensor, parameter: bool) -> bool:
    """Is no number NaN, and in a parameter none infinite? A buffer may hold infinities, as a mask of attention does."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    numbers = tensor.float() if tensor.element_size() == 1 else tensor
    return bool(numbers.isfinite().all() if parameter else not numbers.isnan().any())


def _prefixes(table: TensorTable, own: list[str]) -> Iterator[tuple[str, int]]:
    """Every prefix in a table, with the number of the network's ``own`` names that follow it."""
    names, counts = set(own), Counter[str]()
    for key in table.tensors:
        starts = [0, *(i + 1 for i, letter in enumerate(key) if letter == ".")]
        counts.update(key[:start] for start in starts if key[start:] in names)
    yield from counts.items()


def _distinct(places: list[tuple[TensorTable, str]]) -> list[tuple[TensorTable, str]]:
    """The places without those that hold the same tensors as an earlier one."""
    kept: list[tuple[TensorTable, str]] = []
    for table, prefix in places:
        mine = {k.removeprefix(prefix): t for k, t in table.tensors.items() if k.startswith(prefix)}
        if not any(_are_equal(mine, other.tensors, p) for other, p in kept):
            kept.append((table, prefix))
    return kept


def _are_equal(mine: dict[str, Tensor], others: dict[str, Tensor], prefix: str) -> bool:
    """Are all tensors of ``mine`` among the others, under a prefix?"""
    pairs = [(t, others.get(prefix + k)) for k, t in mine.items()]
    return all(
        b is not None and (a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))) for a, b in pairs
    )


def _is_average(table: TensorTable, prefix: str, tables: list[TensorTable]) -> bool:
    """Does a name say that these are averaged weights? Lightning keeps the last weights in ``current_model_state``."""
    last = ("current_model_state",)
    lightning = table.place == ("state_dict",) and any(other.place == last for other in tables)
    return lightning or bool(AVERAGED.search(_name(table, prefix).lower()))


def _name(table: TensorTable, prefix: str) -> str:
    """The place and the prefix in one word, as in "state_dict.teacher"."""
    return ".".join([*table.place, *([prefix.removesuffix(".")] if prefix else [])])


def _read(path: Path, mapped: bool = False) -> list[TensorTable]:
    """The tables of tensors in a file, the outermost first; SeewhyError if there are none.

    With ``mapped`` the numbers of the tensors are read only if they are looked at.
    """
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else f"does not exist{did_you_mean_file(path)}"
        raise SeewhyError(f"weights file {path} {what}")
    if foreign := what_is_foreign(path):
        raise SeewhyError(f"{path} is no weights file, it is {foreign}")
    unknown: list[str] = []
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            unknown = _classes_in(path)
            stand_ins: list[Any] = [(_Placeholder, name) for name in unknown]
            # old pickles cause warnings that the user can do nothing about
            with without_warnings(UserWarning), torch.serialization.safe_globals(stand_ins) if unknown else nullcontext():
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and zipfile.is_zipfile(path))
    except SafetensorError as error:
        raise SeewhyError(f"{path} is no safetensors file, or is cut off ({error})") from None
    except pickle.UnpicklingError:
        with path.open("rb") as file:
            is_pickle = file.read(1) == pickle.PROTO or zipfile.is_zipfile(path)
        if not is_pickle:
            raise SeewhyError(f"{path} is no weights file: give safetensors, or a state_dict that torch saved") from None
        raise SeewhyError(_more_than_tensors(path, unknown)) from None
    except Exception as error:  # broken bytes can cause any exception
        raise SeewhyError(f"{path} is no weights file, or is cut off ({cause(error)})") from None
    if isinstance(content, _Placeholder):
        raise SeewhyError(_more_than_tensors(path, unknown))
    if not isinstance(content, Mapping) or not content:
        raise SeewhyError(f"{path} holds a {type(content).__name__}, not the weights of a network by name")
    tables = _tables(content)
    if not tables and unknown:
        raise SeewhyError(_more_than_tensors(path, unknown))
    if not tables:
        raise SeewhyError(f"{path} holds entries that are no tensors: {_listed([str(key) for key in content])}")
    return tables


def _classes_in(path: Path) -> list[str]:
    """The names of the classes and functions that an archive of torch asks for and that torch does not know as harmless."""
    if not zipfile.is_zipfile(path):
        return []  # torch's oldest format
    return torch.serialization.get_unsafe_globals_in_checkpoint(path)


def _more_than_tensors(path: Path, unknown: list[str]) -> str:
    """The message for a pickle without tensors of its own."""
    objects = f" (objects of {_listed(unknown)})" if unknown else ""
    return (
        f"{path} holds more than tensors{objects} and was not opened, since a pickle can run code: save the state_dict "
        f"alone, best as safetensors. If you trust the file, Python does it: "
        f"torch.save(torch.load({str(path)!r}, weights_only=False).state_dict(), 'weights.pt')"
    )


def _tables(content: Mapping[object, object]) -> list[TensorTable]:
    """The mappings within ``content`` that hold tensors; a mapping that holds itself, or is very deep, is no trouble."""
    tables: list[TensorTable] = []
    seen = {id(content)}
    waiting: list[tuple[tuple[str, ...], Mapping[object, object]]] = [((), content)]
    for place, mapping in waiting:
        tensors = {str(key): value for key, value in mapping.items() if isinstance(value, Tensor)}
        if tensors:
            tables.append(TensorTable(place, tensors))
        for key, value in mapping.items():
            if isinstance(value, Mapping) and id(value) not in seen and len(place) < DEEPEST:
                seen.add(id(value))
                waiting.append(((*place, str(key)), value))
    return tables


def _listed(names: list[str], most: int = 4) -> str:
    """The first names, with commas."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
