"""Many pictures: explainers, metrics and images in, a run folder out."""
