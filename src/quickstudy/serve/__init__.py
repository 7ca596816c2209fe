"""Models and galleries over HTTP, and a web page. It translates only; what is done is done in the
rooms estimators and gallery. Needs the extra ``serve``.
"""

from quickstudy.serve.app import create_app as create_app
from quickstudy.serve.app import run_server as run_server
from quickstudy.serve.registry import Registry as Registry
from quickstudy.serve.registry import ServedGallery as ServedGallery
from quickstudy.serve.registry import ServedModel as ServedModel
from quickstudy.serve.registry import open_registry as open_registry
from quickstudy.serve.settings import Limits as Limits
from quickstudy.serve.settings import ServerSettings as ServerSettings
