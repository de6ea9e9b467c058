"""Methods that weight the channels of a layer."""
