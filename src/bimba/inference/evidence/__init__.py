"""Where in a video an answer comes from: what the model read, its question and its answer in, scores of moments out.

Each moment's tokens lie in a row in what the language model reads (`moments`), so that it can be asked how much the
answer hangs on them (`find`): by gradients of the answer's log-odds, or by taking one moment after the other away.
`result` holds what comes out. The video is not encoded again for it.
"""

from bimba.inference.evidence.find import Reports, find_evidence
from bimba.inference.evidence.result import Evidence, Method, Moment

__all__ = ["Evidence", "Method", "Moment", "Reports", "find_evidence"]
