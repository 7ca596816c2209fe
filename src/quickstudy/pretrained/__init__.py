"""Pictures, sentences and recordings to vectors, by encoders of ours and of others."""

from quickstudy.pretrained.cache import FeatureCache as FeatureCache
from quickstudy.pretrained.encode_files import EncodedFiles as EncodedFiles
from quickstudy.pretrained.encode_files import encode_files as encode_files
from quickstudy.pretrained.encode_files import stream_files as stream_files
from quickstudy.pretrained.encoder import AbstractImagePretrained as AbstractImagePretrained
from quickstudy.pretrained.encoder import AbstractPretrained as AbstractPretrained
from quickstudy.pretrained.encoder import FunctionEncoder as FunctionEncoder
from quickstudy.pretrained.measured import MeasuredThresholds as MeasuredThresholds
from quickstudy.pretrained.open import KINDS as KINDS
from quickstudy.pretrained.open import open_encoder as open_encoder
from quickstudy.pretrained.recordings import HubAudioEncoder as HubAudioEncoder
from quickstudy.pretrained.recordings import Recording as Recording
from quickstudy.pretrained.recordings import read_recording as read_recording
from quickstudy.pretrained.run import RunEncoder as RunEncoder
from quickstudy.pretrained.sentences import SentenceEncoder as SentenceEncoder
from quickstudy.pretrained.shipped import ShippedEncoder as ShippedEncoder
from quickstudy.pretrained.spectrogram import SpectrogramEncoder as SpectrogramEncoder
