"""Pictures and measurements of trained learners."""

from quickstudy.analysis.pictures import episode_page as episode_page
from quickstudy.analysis.pictures import learning_curve as learning_curve
