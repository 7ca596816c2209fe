"""One page about a fitted classifier, in a file that needs nothing else."""

from quickstudy.report.build import fit_page as fit_page
