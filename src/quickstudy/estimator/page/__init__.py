"""One page about a fitted classifier, in a file that needs nothing else."""

from quickstudy.estimator.page.build import fit_page as fit_page
