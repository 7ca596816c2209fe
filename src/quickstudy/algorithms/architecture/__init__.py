"""Architecture search: the wiring of the encoder is meta-learned with its weights."""
