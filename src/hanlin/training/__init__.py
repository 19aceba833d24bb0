"""Objectives, optimisers, schedules, the trainer, checkpoints: from a batch to a trained model."""
