"""All that the package writes to a disk goes through ``files.py``, which checks that all of it arrives."""

import ast
from pathlib import Path

import seewhy

SOURCE = Path(seewhy.__file__).parent
WRITE = {"write_text", "write_bytes", "mkdir", "makedirs", "touch", "mkdtemp", "TemporaryDirectory", "NamedTemporaryFile"}
WRITE |= {"savefig", "tofile", "savetxt", "copyfile", "copytree", "symlink_to"}
SAVE = {"save", "savez", "savez_compressed", "write_csv", "write_parquet", "dump", "save_file"}
"""These write into memory if their first argument is called ``content``, or return what they would write without one."""
STAYS = {
    "metrics/cost.py": {"write_text"},  # a switch of the system below /proc
    "testing/datasets.py": {"write_bytes"},  # breaks a picture of the user's on purpose, and mends it
    "evaluation/store.py": {"mkdir"},  # the folder of the lock, inside ``safely``
    "training/training_folder.py": {"mkdir", "save"},  # the folder of the lock; torch.save, whose memory comes second
    "explanation/files.py": {"save"},  # Explanation.save, which goes through files.py
}
"""Places that may write by themselves, with the reason."""


def writes(file: Path) -> set[str]:
    """What a file calls to write by itself."""
    found = set()
    for call in (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        texts = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        texts += [word.value.value for word in call.keywords if word.arg == "mode" and isinstance(word.value, ast.Constant)]
        if name in WRITE and not (name == "write_text" and isinstance(call.func, ast.Name)):  # files.write_text
            found.add(name)
        if name == "open" and any(set(text) <= set("rwaxbt+") and set(text) & set("wax+") for text in texts):
            found.add(name)
        if (
            name in SAVE
            and isinstance(call.func, ast.Attribute)
            and call.args
            and not (isinstance(call.args[0], ast.Name) and call.args[0].id == "content")
        ):
            found.add(name)
    return found


def test_only_one_file_writes() -> None:
    found = {str(file.relative_to(SOURCE)): names for file in SOURCE.rglob("*.py") if (names := writes(file))}
    assert found.pop("files.py") == {"mkdir", "open"}
    assert found == STAYS, "write through seewhy.files, with the content in memory, or say in STAYS why not"
