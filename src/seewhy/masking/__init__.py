"""Part of the image taken away."""
