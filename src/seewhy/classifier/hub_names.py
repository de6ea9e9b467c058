"""The names that the weights of a network of Transformers have in its files.

Since version 5 they may differ from the names in the network: a file on the hub keeps the names with which it was made.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def hub_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network by the names that its files have; empty if it is no network of Transformers."""
    if "transformers" not in sys.modules:
        return {}
    from transformers import PreTrainedModel

    if not isinstance(module, PreTrainedModel):
        return {}
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:  # before version 5 the names were the same
        return {}
    return dict(revert_weight_conversion(module, module.state_dict()))


def from_hub(module: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights by the network's own names, from those with the names of ``hub_tensors``."""
    with quiet():
        loaded = type(module).from_pretrained(None, config=module.config, state_dict=dict(weights))
    return loaded.state_dict()


@contextmanager
def quiet() -> Iterator[None]:
    """Inside the block Transformers prints no warnings and no progress bars: what matters becomes an error."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
