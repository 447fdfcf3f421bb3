"""Checkpoints: model folders as they lie on disk in, a config, a processor and lazily read tensors out.

`source` finds out what a folder is; `released_config`, `released_names` and `lora` translate the public layout;
`convert` writes one folder of ours and, with `reverse`, the public layout back. `adapter` puts adapters of ours onto
their `base`; `adapter_writing` and `merged_writing` write what was trained.
"""
