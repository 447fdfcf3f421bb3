"""Videos that were encoded before: kept in files, known again, and asked about without being read."""

from bimba.inference.encoded.identity import encoder_identity
from bimba.inference.encoded.video import SUFFIX, About, EncodedVideo, read_encoded

__all__ = ["SUFFIX", "About", "EncodedVideo", "encoder_identity", "read_encoded"]
