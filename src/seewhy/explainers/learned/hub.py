"""Learned explainers on the hub of Hugging Face: pushed and pulled by huggingface_hub's own mixin.

The mixin writes attributes into its object. A frozen dataclass takes none, so that the mixin has an object of its own, which
holds the explainer and its card.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelHubMixin, snapshot_download

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.sources import hub_in_one_try
from seewhy.errors import SeewhyError, cause
from seewhy.explainers.learned.config import CONFIG, read_explainer_config
from seewhy.explainers.learned.folder import CARD, WEIGHTS, load_explainer, save_explainer
from seewhy.explainers.learned.learned_explainer import LearnedExplainer

FILES = [CONFIG, WEIGHTS, CARD]
"""What is pulled: nothing else in a repository is downloaded."""


class HubExplainer(ModelHubMixin, library_name="seewhy", tags=["explainability"]):
    """A learned explainer and its card, with ``push_to_hub``, ``save_pretrained`` and ``from_pretrained`` of the mixin.

    ``HubExplainer(explainer, card).push_to_hub("OWNER/NAME")`` pushes. ``HubExplainer.from_pretrained("OWNER/NAME",
    classifier=classifier).explainer`` pulls, as ``seewhy.load_explainer("hf/OWNER/NAME", classifier)`` does.

    Args:
        explainer: a learned explainer, trained.
        about: what the card says, see ``save_explainer``.
    """

    _hub_mixin_config: Any = {}  # noqa: RUF012
    """The mixin would copy the arguments, with all networks in them; ``save_explainer`` writes config.json."""

    def __init__(self, explainer: LearnedExplainer, about: Mapping[str, object] | None = None) -> None:
        self.explainer, self.about = explainer, about

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **given: Any) -> "HubExplainer":
        """The explainer of a repository or a folder; ``given``: options of the mixin and of ``load_explainer``."""
        with _asking(str(pretrained_model_name_or_path)):
            return super().from_pretrained(pretrained_model_name_or_path, **given)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        classifier: Classifier | None = None,
        any_weights: bool = False,
        **options: Any,
    ) -> "HubExplainer":
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=FILES,
                )
            )
        return cls(
            load_explainer(folder, classifier, any_weights=any_weights, **options), read_explainer_config(folder).card
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        save_explainer(self.explainer, save_directory, self.about)


def pulled(name: str) -> Path:
    """The folder into which the files of OWNER/NAME are downloaded; SeewhyError where the hub does not give them."""
    with _asking(name):
        return Path(snapshot_download(name, allow_patterns=FILES))


@contextmanager
def _asking(name: str) -> Iterator[None]:
    """Inside the block, SeewhyError where the hub, or its client, does not give what is asked for."""
    try:
        with hub_in_one_try():
            yield
    except SeewhyError:
        raise
    except Exception as error:  # a hub can raise any exception
        raise SeewhyError(f"cannot get the explainer {name} from the hub ({cause(error)}): give a folder") from None
