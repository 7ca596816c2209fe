"""Who is known: identities and their templates, searched exactly, changed safely. Needs the extra
``gallery``.
"""

from quickstudy.gallery.cohort import Calibration as Calibration
from quickstudy.gallery.enrolment import DuplicateError as DuplicateError
from quickstudy.gallery.files import FileDecision as FileDecision
from quickstudy.gallery.files import FolderEnrolment as FolderEnrolment
from quickstudy.gallery.files import Gallery as Gallery
from quickstudy.gallery.index import AbstractIndex as AbstractIndex
from quickstudy.gallery.look_alikes import LookAlikes as LookAlikes
from quickstudy.gallery.look_alikes import OnePhotoError as OnePhotoError
from quickstudy.gallery.maintenance import Deletion as Deletion
from quickstudy.gallery.policy import Decision as Decision
from quickstudy.gallery.policy import Enrolment as Enrolment
from quickstudy.gallery.policy import Policy as Policy
