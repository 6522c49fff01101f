"""What is kept on disk, and taken up again."""
