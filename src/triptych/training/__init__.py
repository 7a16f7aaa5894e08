"""Training: settings, batches and the record of the loss."""
