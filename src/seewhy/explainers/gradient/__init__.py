"""Methods that sum gradients by the pixels."""
