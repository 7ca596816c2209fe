"""The contracts of learners and encoders, executable, and the toy tasks they are checked on.
Shipped: needs no test runner.
"""

from quickstudy.testing.checks.contract import check_learner as check_learner
from quickstudy.testing.checks.contract import yield_checks as yield_checks
from quickstudy.testing.checks.encoder import check_encoder as check_encoder
from quickstudy.testing.checks.encoder import yield_encoder_checks as yield_encoder_checks
from quickstudy.testing.checks.subject import EncoderSubject as EncoderSubject
from quickstudy.testing.checks.subject import Subject as Subject
from quickstudy.testing.toy import toy_episode as toy_episode
from quickstudy.testing.toy import toy_learner as toy_learner
