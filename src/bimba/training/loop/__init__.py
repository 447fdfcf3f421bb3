"""The loop: model, batches and settings in, trained weights in the run's folder out."""
