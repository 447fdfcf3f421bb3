"""A video file in, what its container says of streams and packets out; nothing is decoded.

`opening` opens files safely, `packets` reads where each frame lies, `gif` and `matroska` know what FFmpeg keeps quiet.
"""
