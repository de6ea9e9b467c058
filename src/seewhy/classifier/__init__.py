"""The network that is explained."""
