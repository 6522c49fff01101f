"""A stand-in for the training image: the same contracts, no mathematics, and it fails on demand."""
