"""Who is known: identities and their templates, searched exactly, changed safely. Needs the extra
``gallery``.
"""

from quickstudy.gallery.gallery import Gallery as Gallery
from quickstudy.gallery.policy import Decision as Decision
from quickstudy.gallery.policy import Enrolment as Enrolment
from quickstudy.gallery.policy import Policy as Policy
