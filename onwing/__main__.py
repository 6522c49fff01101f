"""`python -m onwing` is `onwing`."""

from onwing.cli import app

if __name__ == "__main__":
    app()
