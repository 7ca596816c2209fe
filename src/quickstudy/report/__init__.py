"""The page that `quickstudy fit` writes, and that of a score on new items."""

from quickstudy.report.build import fit_page as fit_page
from quickstudy.report.build import model_page as model_page
from quickstudy.report.inspection import InspectedImage as InspectedImage
from quickstudy.report.inspection import Opinion as Opinion
from quickstudy.report.inspection import inspection_page as inspection_page
from quickstudy.report.score import score_page as score_page
