"""Vamba: video tokens in, mixed by Mamba-2 and read by the text in cross-attention; no token is dropped."""
