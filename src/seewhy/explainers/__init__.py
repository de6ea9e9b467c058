"""Map out: one file per method. Importing a method's module registers it."""

from seewhy.explainers.active_saliency import ActiveSaliency as ActiveSaliency
from seewhy.explainers.base import EXPLAINERS as EXPLAINERS
from seewhy.explainers.base import Explainer as Explainer
from seewhy.explainers.base import ExplainsClasses as ExplainsClasses
from seewhy.explainers.base import Family as Family
from seewhy.explainers.base import explainer as explainer
from seewhy.explainers.cam import CAM as CAM
from seewhy.explainers.center import Center as Center
from seewhy.explainers.eigen_cam import EigenCAM as EigenCAM
from seewhy.explainers.fake_cam import FakeCAM as FakeCAM
from seewhy.explainers.grad_cam import GradCAM as GradCAM
from seewhy.explainers.grad_cam_pp import GradCAMPlusPlus as GradCAMPlusPlus
from seewhy.explainers.gradient_shap import GradientShap as GradientShap
from seewhy.explainers.hires_cam import HiResCAM as HiResCAM
from seewhy.explainers.inactive_saliency import InactiveSaliency as InactiveSaliency
from seewhy.explainers.input_x_gradient import InputXGradient as InputXGradient
from seewhy.explainers.integrated_gradients import IntegratedGradients as IntegratedGradients
from seewhy.explainers.layer_cam import LayerCAM as LayerCAM
from seewhy.explainers.negative_saliency import NegativeSaliency as NegativeSaliency
from seewhy.explainers.opti_cam import OptiCAM as OptiCAM
from seewhy.explainers.positive_saliency import PositiveSaliency as PositiveSaliency
from seewhy.explainers.random import Random as Random
from seewhy.explainers.saliency import Saliency as Saliency
from seewhy.explainers.smooth_grad import SmoothGrad as SmoothGrad
from seewhy.explainers.x_grad_cam import XGradCAM as XGradCAM
