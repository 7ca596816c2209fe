"""Pictures and measurements of trained learners."""

from quickstudy.analysis.inner import OrderReport as OrderReport
from quickstudy.analysis.inner import PermutationReport as PermutationReport
from quickstudy.analysis.inner import StepCurve as StepCurve
from quickstudy.analysis.inner import compare_orders as compare_orders
from quickstudy.analysis.inner import compare_trained as compare_trained
from quickstudy.analysis.inner import label_permutations as label_permutations
from quickstudy.analysis.inner import step_curve as step_curve
from quickstudy.analysis.inner import write_report as write_report
from quickstudy.analysis.pictures import episode_page as episode_page
from quickstudy.analysis.pictures import learning_curve as learning_curve
from quickstudy.analysis.reuse import ReuseReport as ReuseReport
from quickstudy.analysis.reuse import feature_reuse as feature_reuse
