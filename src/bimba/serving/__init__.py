"""Questions about videos over HTTP in, answers out, as OpenAI's clients speak; many at a time with one model."""
