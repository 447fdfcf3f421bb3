"""BIMBA as transformers has models: configuration, model, processor."""
