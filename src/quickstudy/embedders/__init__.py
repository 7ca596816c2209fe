"""Pictures, sentences and recordings to vectors, by encoders of ours and of others."""

from quickstudy.embedders.cache import FeatureCache as FeatureCache
from quickstudy.embedders.embedder import AbstractEmbedder as AbstractEmbedder
from quickstudy.embedders.embedder import AbstractPictureEmbedder as AbstractPictureEmbedder
from quickstudy.embedders.embedder import Wrapped as Wrapped
from quickstudy.embedders.files import Embedded as Embedded
from quickstudy.embedders.files import embed_files as embed_files
from quickstudy.embedders.files import stream_files as stream_files
from quickstudy.embedders.named import KINDS as KINDS
from quickstudy.embedders.named import open_embedder as open_embedder
from quickstudy.embedders.recordings import Recording as Recording
from quickstudy.embedders.recordings import RecordingEmbedder as RecordingEmbedder
from quickstudy.embedders.recordings import read_recording as read_recording
from quickstudy.embedders.run import RunEmbedder as RunEmbedder
from quickstudy.embedders.sentences import SentenceEmbedder as SentenceEmbedder
from quickstudy.embedders.shipped import ShippedEmbedder as ShippedEmbedder
from quickstudy.embedders.spectrogram import SpectrogramEmbedder as SpectrogramEmbedder
