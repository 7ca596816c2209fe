"""What learners share that read a support set as a sequence."""

from quickstudy.sequence.reader import SequenceReader as SequenceReader
