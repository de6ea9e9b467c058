"""The tensor vocabulary: every public signature is written with these names."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Images = Float[Tensor, "n c h w"]
"""RGB (or gray) images in [0, 1]."""
Targets = Int[Tensor, "n"]
"""The explained class of each image, as an index."""
Classes = Int[Tensor, "k"]
"""Several classes, the same for every image."""
Logits = Float[Tensor, "n k"]
Probabilities = Float[Tensor, "n k"]
Embeddings = Float[Tensor, "n d"]
Scores = Float[Tensor, "n"]
Attribution = Float[Tensor, "n h w"]
"""The maps that ``explain`` returns: raw, signed if the method is, never rescaled."""
ClassAttribution = Float[Tensor, "n k h w"]
ChannelAttribution = Float[Tensor, "n c h w"]
"""An attribution before its color channels are merged."""
Regions = Bool[Tensor, "n h w"]
"""The ground-truth area of the labelled object."""
FeatureMap = Float[Tensor, "n d gh gw"]
"""Features on their grid; gradients of features have the same shape."""
CoarseMap = Float[Tensor, "n gh gw"]
"""A map on the grid of a layer, before it is upsampled to the image."""
