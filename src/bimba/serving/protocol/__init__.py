"""JSON of OpenAI's chat interface in, what is asked out; answers in, JSON of that interface out."""
