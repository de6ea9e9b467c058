"""Every explainer x every promise x every tiny model."""

import pytest
from conftest import TINY
from torch import Tensor

from seewhy.explainers import EXPLAINERS, explainer
from seewhy.testing import CHECKS, Check

# cheap options, for this suite only
CHEAP: dict[str, dict[str, object]] = {
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 3},
    "gradient_shap": {"samples": 3},
    "opti_cam": {"steps": 3},
    "occlusion": {"window": 6, "stride": 5},
    "rise": {"samples": 12, "cells": 4},
    "relax": {"samples": 12, "cells": 4},
    "u_relax": {"samples": 12, "cells": 4},
    "lime": {"samples": 20, "size": 8},
    "kernel_shap": {"samples": 20, "size": 8},
    "extremal_perturbation": {"steps": 2, "areas": (0.1, 0.3)},
    "smooth_pixel_mask": {"steps": 2},
    "meaningful_perturbation": {"steps": 3, "cells": 8},
    "igos_pp": {"iterations": 1, "path_steps": 2, "cells": 6, "longest": 10.0, "selector": "logit", "sparsity": 0.0},
}


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_contract(name: str, check: Check, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check(lambda classifier: explainer(name, classifier, **CHEAP.get(name, {})), TINY[model](), *batch)
