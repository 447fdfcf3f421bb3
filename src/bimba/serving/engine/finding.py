"""An answer that is whole in, which moments of its video it rests on out; found in turns with the steps of others."""

from dataclasses import dataclass
from typing import Any

from bimba.errors import BimbaError
from bimba.inference.evidence import Evidence, Method, find_evidence
from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.batch import why_failed
from bimba.serving.engine.prompt import Prompt, features_of
from bimba.serving.engine.ticket import Done, Found, Unfound
from bimba.serving.engine.turns import Turns
from bimba.serving.refusals import RefusedError

LATE = Unfound("the evidence was not found in the time that this server allows for an answer.")


@dataclass(frozen=True)
class Whole:
    """An answer of which is still to be found what it rests on.

    Attributes:
        prompt: what was asked; its ticket is told how far the search is.
        method: see `Evidence`.
        done: what was answered.
    """

    prompt: Prompt
    method: Method
    done: Done


def find_in_turns(qa: VideoQA[Any, Any], whole: Whole, turns: Turns) -> Found | Unfound:
    """Which moments the answer rests on, or why that is not known: the answer stands, whatever goes wrong here.

    Args:
        qa: the model that answered.
        whole: what it answered.
        turns: of which each pass of the model takes one.

    Raises:
        RefusedError: nobody waits for the answer any more.
    """
    try:
        with turns.held():
            return Found(_found(qa, whole, turns))
    except RefusedError:
        if whole.prompt.ticket.why_over == "gone":
            raise
        return LATE
    except BimbaError as error:
        return Unfound(why_failed(error).message)
    except Exception as error:  # noqa: BLE001 - the answer is there, and is not to be lost
        return Unfound(f"no evidence was found: {why_failed(error).message}")


def _found(qa: VideoQA[Any, Any], whole: Whole, turns: Turns) -> Evidence:
    prompt, ticket = whole.prompt, whole.prompt.ticket

    def report(num_done: int, num_passes: int) -> None:
        ticket.progress = ("evidence", num_done, num_passes)
        if num_done < num_passes:
            with turns.given_up():
                pass  # whoever waits has a turn now
            ticket.check()

    ticket.check()
    ticket.progress = ("evidence", 0, 1)
    return find_evidence(
        qa.model,
        qa.processor,
        prompt.request,
        features_of(qa, prompt),
        whole.done.token_ids,
        method=whole.method,
        report=report,
    )
