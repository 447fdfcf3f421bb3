"""Vamba as transformers has models: what goes into it."""
