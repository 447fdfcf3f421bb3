"""The samples of a recipe in, batches of tensors out.

The flow, one module a step: entries (files to JSON texts), mixture, choosing, needle_samples -> samples (sources to a
store) -> store, sample (a JSON text to a checked sample) -> conversation, learned (to ids and labels) -> dataset (to an
example, or a failure with its reason) -> collator (to a batch); of a Vamba it is vamba_dataset -> vamba_collator.
sampler is their order; lengths, check and workers look at all of them before a run.
"""

from bimba.training.data.check import Report, Spread, check_samples
from bimba.training.data.collator import BatchInfo, Collator
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.example import Example, Failure, FeatureSource
from bimba.training.data.example_dataset import BLANK, Description, ExampleDataset, Piece
from bimba.training.data.lengths import measure_lengths
from bimba.training.data.sample import Sample
from bimba.training.data.sampler import GlobalOrder
from bimba.training.data.samples import prepare_sources, read_samples
from bimba.training.data.store import SampleStore
from bimba.training.data.vamba_collator import VambaCollator
from bimba.training.data.vamba_dataset import VambaDataset

__all__ = [
    "BLANK",
    "BatchInfo",
    "Collator",
    "Description",
    "Example",
    "ExampleDataset",
    "Failure",
    "FeatureSource",
    "GlobalOrder",
    "Piece",
    "Report",
    "Sample",
    "SampleStore",
    "Spread",
    "TrainingDataset",
    "VambaCollator",
    "VambaDataset",
    "check_samples",
    "measure_lengths",
    "prepare_sources",
    "read_samples",
]
