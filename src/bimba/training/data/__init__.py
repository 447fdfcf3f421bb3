"""The samples of a recipe in, batches of tensors out.

The flow, one module a step: entries (files to JSON texts), mixture, choosing, needle_samples -> samples (sources to a
store) -> store, sample (a JSON text to a checked sample) -> conversation, learned (to ids and labels) -> dataset (to an
example, or a failure with its reason) -> collator (to a batch). sampler is their order; lengths, check and workers look
at all of them before a run.
"""

from bimba.training.data.check import Report, Spread, check_samples
from bimba.training.data.collator import BatchInfo, Collator
from bimba.training.data.dataset import BLANK, Description, Piece, TrainingDataset
from bimba.training.data.example import Example, Failure, FeatureSource
from bimba.training.data.lengths import measure_lengths
from bimba.training.data.sample import Sample
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.samples import prepare_sources, read_samples
from bimba.training.data.store import SampleStore

__all__ = [
    "BLANK",
    "BatchInfo",
    "Collator",
    "Description",
    "Example",
    "Failure",
    "FeatureSource",
    "GlobalOrder",
    "Piece",
    "Report",
    "Sample",
    "SampleStore",
    "Spread",
    "TrainingDataset",
    "check_samples",
    "measure_lengths",
    "prepare_sources",
    "read_samples",
]
