"""Files that hold a network and no weights of PyTorch by name: what they are, and what to do."""

import zipfile
from contextlib import suppress
from pathlib import Path

OF_OTHERS = {
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "a file of Keras"),
    **{".onnx": "ONNX", ".tflite": "TensorFlow Lite", ".pb": "a graph of TensorFlow", ".gguf": "GGUF"},
    **{".mlmodel": "Core ML", ".engine": "TensorRT", ".trt": "TensorRT", ".npz": "an archive of NumPy"},
}
"""Files of other libraries, by their suffix."""
COMPILED = (
    ("/code/", "jit", "TorchScript"),
    ("/models/", "export", "a program of torch.export"),
    ("serialized_exported_program", "export", "a program of torch.export"),
)
"""What a name in a zip file shows, the module of torch that reads the file, and what it is."""


def what_is_foreign(path: Path) -> str:
    """What a file is that holds no weights of PyTorch by name, and what to do; empty where it may hold such."""
    if kind := OF_OTHERS.get(path.suffix.lower()):
        return (
            f"{kind}: seewhy explains networks of PyTorch, so give --model package.module:function, "
            "a function of yours that returns the network in PyTorch"
        )
    names: list[str] = []
    with suppress(OSError, zipfile.BadZipFile):
        names = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    for sign, reader, kind in COMPILED:
        if any(sign in name for name in names):
            weights = f"torch.save(dict(torch.{reader}.load({str(path)!r}).state_dict), 'weights.pt')"
            weights = weights if reader == "export" else weights.replace("state_dict)", "state_dict())")
            return (
                f"{kind}, whose layers nobody can watch: write its weights in Python, {weights}, and give "
                "--model NAME --weights weights.pt"
            )
    return ""
