"""To be written."""


def handler(event: object, context: object) -> None:
    """Nothing yet."""
