"""Logits of a student and the most likely tokens of a teacher in, how far the student is from the teacher out.

Source of the form: the public code of Vamba (arXiv 2503.11579), which stores a teacher's top k once and learns from
them many times. It takes the student's logits at the learned tokens themselves, not at the places before them, which
predict them; which places are compared is the caller's choice here.

Shapes: M places, V vocabulary, k tokens of the teacher.
"""

from torch import Tensor
from torch.nn import functional


def top_k_divergence(logits: Tensor, values: Tensor, indices: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher to the student over the teacher's k tokens, place by place.

    Both distributions are those over the k tokens alone, their shares scaled to 1.

    Args:
        logits: of the student [M, V].
        values: the teacher's logits [M, k] of its tokens.
        indices: which tokens these are, int64 [M, k].
        temperature: both distributions are softened by it.

    Returns:
        float32 [M].

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if values.shape != indices.shape or len(logits) != len(values):
        raise ValueError(
            f"logits {list(logits.shape)}, values {list(values.shape)} and indices {list(indices.shape)} do not fit"
        )
    ours = functional.log_softmax(logits.gather(1, indices).float() / temperature, dim=-1)
    theirs = functional.log_softmax(values.float() / temperature, dim=-1)
    return functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1)
