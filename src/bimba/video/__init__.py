"""The first stages of the flow: a video file goes in, the frames the model looks at come out as pixels.

`source` is a video and how to read it, `sampling` chooses which frames (`interval_sampling` those of Vamba), `probe`
reads what a file holds, `decode` turns chosen frames into RGB arrays, and `pixels` turns those into the vision tower's
input. Nothing is imported here, so that choosing frames costs neither torch nor FFmpeg: import the stage you need, e.g.
`from bimba.video.sampling import choose_frames`.
"""
