"""A probed video in, its wanted frames out: `pyav`, or `torchcodec` if asked for; `rgb` makes colours of pictures."""
