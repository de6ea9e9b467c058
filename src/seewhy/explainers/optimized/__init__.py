"""Methods that optimize a mask or weights for each image."""
