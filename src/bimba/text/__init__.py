"""Text: a question and the times of the frames in, the prompt and its training labels out."""
