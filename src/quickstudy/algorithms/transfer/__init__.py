"""Transfer: an encoder trained on many classes, and a classifier that is fitted on its features."""
