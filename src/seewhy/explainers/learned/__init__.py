"""Methods whose maps a trained network makes in one pass. A loop elsewhere trains them."""
