"""An uploaded file in, an open page on which it is talked about out, with what it is and what it comes to."""

import asyncio
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

    async def open(self, talk: Talk, file_id: str, name: str, look: Look) -> dict[str, Any]:
        """Begin to talk about a file; what the page shows of it, in plain values.

        Args:
            talk: that ends what it was about before.
            file_id: what the upload said.
            name: what the visitor calls the file.
            look: how it is going to be looked at.
        """
        self.close(talk)
        try:
            questions: tuple[str, ...] = ()
            if file_id == EXAMPLE_ID and self.example is not None:
                media, questions = await asyncio.to_thread(self.example.made)
            else:
                media = self._files.open(file_id, talk.owner)
            file = await asyncio.to_thread(looked_into, media, self._limits)
        except RefusedError as refusal:
            return {"id": file_id, "error": refusal.message}
        talk.file_id, talk.media, talk.file, talk.questions = file_id, media, file, questions
        return self._shown(talk, name, look)

    def shown(self, talk: Talk, look: Look) -> dict[str, Any] | None:
        """The same of a file that is open; None if there is none."""
        return None if talk.file is None else self._shown(talk, "", look)

    def close(self, talk: Talk) -> None:
        """Talk about nothing any more; the file is deleted."""
        talk.stop()
        if talk.file_id and talk.file_id != EXAMPLE_ID and self._is_there(talk):
            self._files.delete(talk.file_id, talk.owner)
        talk.file_id, talk.media, talk.file, talk.questions = "", None, None, ()
        talk.turns, talk.shown = [], []

    def _is_there(self, talk: Talk) -> bool:
        return any(one.id == talk.file_id for one in self._files.of(talk.owner))

    def _shown(self, talk: Talk, name: str, look: Look) -> dict[str, Any]:
        if talk.file is None:
            raise ValueError("no file is open.")
        plan = planned(self._qa, talk.file, look)
        return {"id": talk.file_id, "name": name, "file": described(talk.file), "plan": plan}
