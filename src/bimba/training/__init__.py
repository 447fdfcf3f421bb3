"""Training: a recipe file in, a model folder out.

The flow, one folder a step; `run` ties them together:

recipe (what to do) -> data (samples to batches) -> model (where training starts, what of it is trained) -> features
(what a frozen vision tower sees, kept on disk) -> loop (transformers' Trainer, checkpoints, counts) -> result (the
folder that `bimba.load` opens)
"""
