"""The contract of a learner, executable, and the toy tasks it is checked on. Shipped: needs no test
runner.
"""

from quickstudy.testing.checks.contract import Subject as Subject
from quickstudy.testing.checks.contract import check_learner as check_learner
from quickstudy.testing.checks.contract import yield_checks as yield_checks
from quickstudy.testing.toy import toy_episode as toy_episode
from quickstudy.testing.toy import toy_learner as toy_learner
