"""Pictures, sentences and recordings to vectors, by encoders of ours and of others."""

from quickstudy.embedders.embedder import AbstractEmbedder as AbstractEmbedder
from quickstudy.embedders.embedder import AbstractPictureEmbedder as AbstractPictureEmbedder
from quickstudy.embedders.embedder import Wrapped as Wrapped
from quickstudy.embedders.named import KINDS as KINDS
from quickstudy.embedders.named import open_embedder as open_embedder
from quickstudy.embedders.run import RunEmbedder as RunEmbedder
