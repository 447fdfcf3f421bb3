"""Conversations about videos in, batches that the model's forward takes out."""
