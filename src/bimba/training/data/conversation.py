"""A sample and the clips of its media in, the conversation that the language model reads out."""

from collections.abc import Sequence

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.text.prompts import VIDEO_TOKEN, Message, time_sentence, training_question
from bimba.training.data.sample import Sample

_FIX = f"write {VIDEO_TOKEN} once for each video or image, in a turn from human."


def build_messages(sample: Sample, clips: Sequence[Clip], *, tell_times: bool) -> list[Message]:
    """Write a sample as training reads it.

    A turn with one placeholder gets it at its front, as the released training has it; in a turn with several images
    each keeps its place. If no turn says where a single video or image goes, it goes to the first question.

    Args:
        sample: is not changed.
        clips: of its media, in their order.
        tell_times: put the frames' times in front of the question about a video that has times.

    Returns:
        the conversation with one placeholder for each video or image.

    Raises:
        InputError: placeholders and media differ in number, or a placeholder is not in a user's turn.
    """
    places = _places(sample)
    sentence = None
    if tell_times and sample.kind == "video" and clips[0].has_times:
        sentence = time_sentence(clips[0].duration_seconds, clips[0].printed_seconds)
    messages = list(sample.turns)
    for place in set(places):
        content = messages[place].content
        if places.count(place) == 1:
            content = _with_one_video(content, sentence)
        messages[place] = Message("user", content)
    return messages


def questions_about_media(sample: Sample) -> list[str]:
    """What is asked in the turn that each video or image stands in, as it is written.

    Raises:
        InputError: as `build_messages`.
    """
    return [sample.turns[place].content for place in _places(sample)]


def _places(sample: Sample) -> list[int]:
    """The turn of each video or image, in order."""
    for number, turn in enumerate(sample.turns):
        if turn.role != "user" and VIDEO_TOKEN in turn.content:
            raise InputError(f"turn {number}, which is the {turn.role}'s, holds {VIDEO_TOKEN}.", fix=_FIX)
    places = [number for number, turn in enumerate(sample.turns) for _ in range(turn.content.count(VIDEO_TOKEN))]
    num_media = len(sample.media)
    if not places and num_media == 1:
        return [next(number for number, turn in enumerate(sample.turns) if turn.role == "user")]
    if len(places) != num_media:
        what = {"video": "1 video", "image": f"{num_media} images", "text": "no video or image"}[sample.kind]
        raise InputError(f"the conversation holds {len(places)} {VIDEO_TOKEN} for {what}.", fix=_FIX)
    return places


def _with_one_video(content: str, sentence: str | None) -> str:
    if sentence is None:
        return f"{VIDEO_TOKEN}\n{content.replace(VIDEO_TOKEN, '').strip()}"
    return training_question(content if VIDEO_TOKEN in content else f"{VIDEO_TOKEN}\n{content}", sentence)
