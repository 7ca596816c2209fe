"""The executable contract of a learner, by subject."""
