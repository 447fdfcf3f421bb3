"""Training: a recipe file in, a model folder out.

The flow, one module or folder a step:

recipe (what to do) -> data (samples to batches) -> start (the model) -> parts (what of it is trained) -> trainer (the
loop, which is transformers') -> saving (checkpoints) -> result (the folder that `bimba.load` opens); `run` ties them
together.
"""
