"""Scores of learners on streams of tasks: evaluate, report, compare."""

from quickstudy.evaluation.compare import Comparison as Comparison
from quickstudy.evaluation.compare import compare as compare
from quickstudy.evaluation.evaluate import Share as Share
from quickstudy.evaluation.evaluate import evaluate as evaluate
from quickstudy.evaluation.evaluate import evaluate_shared as evaluate_shared
from quickstudy.evaluation.evaluate import with_unknowns as with_unknowns
from quickstudy.evaluation.report import EarlierRun as EarlierRun
from quickstudy.evaluation.report import Origin as Origin
from quickstudy.evaluation.report import Report as Report
from quickstudy.evaluation.report import commit as commit
from quickstudy.evaluation.report import versions as versions
