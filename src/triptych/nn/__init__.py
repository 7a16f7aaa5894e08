"""Pieces of networks: what turns data into tensors and back."""
