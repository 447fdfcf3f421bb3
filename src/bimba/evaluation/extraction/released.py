"""An answer in words in, what the public BIMBA code compares with the right letter out."""


def released_first_word(answer: str) -> str:
    """Return an answer's first word without the full stops at its end.

    Source: the scoring of the public BIMBA code. Words are what single spaces separate, so that the first word of
    " B" is empty and a line break is part of a word; brackets and colons stay: "(B)" and "B:" are then wrong. It is
    here to reproduce figures made with that code; `extract_option` is the rule for new ones.
    """
    return answer.split(" ")[0].rstrip(".").strip()


def is_right_as_released(answer: str, letter: str) -> bool:
    """Whether the public BIMBA code counts an answer as right; case makes no difference.

    Args:
        answer: what the model said.
        letter: the right one.
    """
    return released_first_word(answer).lower() == letter.lower()
