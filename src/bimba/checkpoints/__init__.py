"""Checkpoints: model folders as they lie on disk in, a config, a processor and lazily read tensors out.

`source` finds out what a folder is; `released_config`, `released_names` and `lora` translate the public layout;
`convert` writes one folder of ours and, with `reverse`, the public layout back.
"""
