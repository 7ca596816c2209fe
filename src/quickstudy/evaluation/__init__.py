"""Scores of learners on streams of tasks: evaluate, report, compare."""

from quickstudy.evaluation.evaluate import Comparison as Comparison
from quickstudy.evaluation.evaluate import Origin as Origin
from quickstudy.evaluation.evaluate import Report as Report
from quickstudy.evaluation.evaluate import commit as commit
from quickstudy.evaluation.evaluate import compare as compare
from quickstudy.evaluation.evaluate import evaluate as evaluate
from quickstudy.evaluation.evaluate import versions as versions
from quickstudy.evaluation.evaluate import with_strangers as with_strangers
