"""An uploaded file in, an open page on which it is talked about out, with what it is and what it comes to."""

import asyncio
from contextlib import suppress
from typing import Any

from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.ticket import Look
from bimba.serving.media.files import FileStore
from bimba.serving.page.example import EXAMPLE_ID, Example
from bimba.serving.page.knowing import Known
from bimba.serving.page.planning import described, looked_into, planned
from bimba.serving.page.talks import Talk
from bimba.serving.refusals import RefusedError
from bimba.serving.settings import MediaLimits


class Opening:
    """Opens videos for talks.

    Args:
        qa: the model.
        files: that were uploaded.
        limits: how large they may be.
        known: what is known of the model.
        example: that everybody may ask about.
    """

    def __init__(
        self, qa: VideoQA[Any, Any], files: FileStore, limits: MediaLimits, known: Known, example: Example | None
    ) -> None:
        self._qa, self._files, self._limits = qa, files, limits
        self.known, self.example = known, example

    @property
    def least_frames(self) -> int:
        """That the model takes."""
        return int(self._qa.processor.least_frames)

    async def open(self, talk: Talk, file_id: str, name: str, look: Look) -> dict[str, Any] | None:
        """Begin to talk about a file; what the page shows of it, in plain values, or None if that comes too late.

        Args:
            talk: that ends what it was about before.
            file_id: what the upload said.
            name: what the visitor calls the file.
            look: how it is going to be looked at.
        """
        self.close(talk)
        talk.file_id, number = file_id, talk.number
        try:
            questions: tuple[str, ...] = ()
            if file_id == EXAMPLE_ID and self.example is not None:
                media, questions = await asyncio.to_thread(self.example.made)
            else:
                media = self._files.open(file_id, talk.owner)
            file = await asyncio.to_thread(looked_into, media, self._limits)
        except RefusedError as refusal:
            if talk.number != number:
                return None
            self.close(talk)
            return {"id": file_id, "error": refusal.message}
        if talk.number != number:  # another one was opened, or the page closed, and this file deleted
            return None
        talk.media, talk.file, talk.questions = media, file, questions
        return self._shown(talk, name, look)

    def shown(self, talk: Talk, look: Look) -> dict[str, Any] | None:
        """The same of a file that is open; None if there is none."""
        return None if talk.file is None else self._shown(talk, "", look)

    def close(self, talk: Talk) -> None:
        """Talk about nothing any more; the file is deleted."""
        self.end(talk)
        talk.turns, talk.shown = [], []

    def end(self, talk: Talk) -> None:
        """Answer nothing more; the file is deleted, and what was said stands on the page as long as that does."""
        talk.stop()
        if talk.file_id and talk.file_id != EXAMPLE_ID:
            with suppress(RefusedError):  # it is gone, or somebody else's
                self._files.delete(talk.file_id, talk.owner)
        talk.file_id, talk.media, talk.file, talk.questions = "", None, None, ()
        talk.ticket, talk.number = None, talk.number + 1

    def _shown(self, talk: Talk, name: str, look: Look) -> dict[str, Any]:
        if talk.file is None:
            raise ValueError("no file is open.")
        plan = planned(self._qa, talk.file, look)
        return {"id": talk.file_id, "name": name, "file": described(talk.file), "plan": plan}
