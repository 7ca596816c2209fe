"""What learners share that train nothing through their own learning: on fixed features, or by tuning a copy of the encoder."""

from quickstudy.heads.encoder_tuner import EncoderTuner as EncoderTuner
from quickstudy.heads.feature_head import FeatureHead as FeatureHead
