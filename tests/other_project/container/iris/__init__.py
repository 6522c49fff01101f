"""What the image runs."""
