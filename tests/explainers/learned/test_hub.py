"""Push and pull, with a hub that is a folder: nothing is asked of a network."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import hub_mixin
from support.learned_methods import register_two
from support.tiny_models import TINY
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.learned import hub
from seewhy.explainers.learned.folder import load_explainer
from seewhy.explainers.learned.hub import HubExplainer


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    register_two()


class FolderHub:
    """Repositories are folders of ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[dict[str, Any]] = []

    def create_repo(self, repo_id: str, **_: object) -> SimpleNamespace:
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(self, *, repo_id: str, folder_path: Path, **_: object) -> str:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return f"commit of {repo_id}"

    def snapshot_download(self, repo_id: str, **given: Any) -> str:
        self.asked.append(given)
        if not (self.root / repo_id).is_dir():
            raise RuntimeError(f"404 {repo_id}")
        return str(self.root / repo_id)

    def hf_hub_download(self, repo_id: str, filename: str, **_: object) -> str:
        return str(Path(self.snapshot_download(repo_id)) / filename)


@pytest.fixture
def folder_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    made = FolderHub(tmp_path / "hub")
    monkeypatch.setattr(hub_mixin, "HfApi", lambda **_: made)
    monkeypatch.setattr(hub_mixin, "hf_hub_download", made.hf_hub_download)
    monkeypatch.setattr(hub, "snapshot_download", made.snapshot_download)
    return made


def test_what_is_pushed_can_be_pulled(folder_hub: FolderHub, batch: tuple[Tensor, Tensor]) -> None:
    method: Any = explainer("weighed", TINY["cnn"]())
    method = method.untrained(2)
    assert HubExplainer(method, {"scores": {"mass": 0.5}}).push_to_hub("me/masks") == "commit of me/masks"
    assert sorted(p.name for p in (folder_hub.root / "me" / "masks").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    card = (folder_hub.root / "me" / "masks" / "README.md").read_text()
    assert "| mass | 0.5 |" in card, "the card is ours, not the mixin's"
    expected = method.explain(*batch)
    for pulled in (
        load_explainer("hf/me/masks", TINY["cnn"]()),
        explainer("hf/me/masks", TINY["cnn"]()),
        HubExplainer.from_pretrained("me/masks", classifier=TINY["cnn"]()).explainer,
        HubExplainer.from_pretrained(
            str(folder_hub.root / "me" / "masks"), classifier=TINY["cnn"](), batch_size=1
        ).explainer,
    ):
        assert torch.allclose(pulled.explain(*batch), expected, atol=1e-6)
    assert all(asked.get("allow_patterns") == hub.FILES for asked in folder_hub.asked if asked), "only the three files"


def test_save_pretrained_writes_the_folder(tmp_path: Path, batch: tuple[Tensor, Tensor]) -> None:
    method: Any = explainer("painted", TINY["cnn"]())
    HubExplainer(method.untrained()).save_pretrained(tmp_path / "saved")
    assert torch.equal(load_explainer(tmp_path / "saved").explain(*batch), method.untrained().explain(*batch))


def test_the_mixin_copies_no_network() -> None:
    method: Any = explainer("painted", TINY["cnn"]())
    assert HubExplainer(method.untrained())._hub_mixin_config == {}


def test_what_the_hub_does_not_give_is_one_line(folder_hub: FolderHub) -> None:
    for ask in (
        lambda: load_explainer("hf/me/nothing", TINY["cnn"]()),
        lambda: HubExplainer.from_pretrained("me/nothing", classifier=TINY["cnn"]()),
    ):
        with pytest.raises(SeewhyError, match="cannot get the explainer me/nothing from the hub") as error:
            ask()
        assert "\n" not in str(error.value)
    (folder_hub.root / "me" / "other").mkdir(parents=True)
    (folder_hub.root / "me" / "other" / "config.json").write_text("[")
    with pytest.raises(SeewhyError, match="cannot be read"):
        load_explainer("hf/me/other", TINY["cnn"]())
    with pytest.raises(SeewhyError, match="cannot get the explainer me/other from the hub"):
        HubExplainer.from_pretrained("me/other", classifier=TINY["cnn"]())
