"""What every method promises, and how it is saved."""
