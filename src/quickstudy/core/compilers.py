"""What a recorded training step can be played back by; see `quickstudy.core.compiled`."""

COMPILERS = ("trace", "inductor")
