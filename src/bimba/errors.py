"""Errors that are the user's to fix: what is wrong goes in, a message with a fix comes out."""


class BimbaError(Exception):
    """Base of every error that is the user's to fix; the command line prints it without a traceback.

    Args:
        problem: what is wrong, with the values on both sides.
        fix: an action that repairs it.
    """

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem, self.fix = problem, fix


class InputError(BimbaError):
    """An argument or a setting is out of range, empty or unknown."""


class VideoError(BimbaError):
    """A video or an image cannot be opened, has no pictures, or ends early."""


class CheckpointError(BimbaError):
    """A model folder is incomplete, unsafe, or does not fit the model."""


class TrainingError(BimbaError):
    """A training run cannot go on: its loss is no number, too many samples are unreadable, or the disk is full."""


class GenerationError(BimbaError):
    """A model cannot answer: its scores are no numbers."""
