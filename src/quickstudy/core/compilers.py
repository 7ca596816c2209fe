"""What a recorded training step can be played back by; see `quickstudy.core.compiled`."""

COMPILERS = ("trace", "inductor")
COMPILE_CHOICES = ("auto", *COMPILERS)  # of a plan
