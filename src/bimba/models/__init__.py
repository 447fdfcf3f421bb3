"""Models for transformers: pixels and ids in, logits out. `auto_classes` makes transformers know them."""
