"""What answers requests: bodies in, RUL per engine out, behind SageMaker's serving contract (see docs/serving.md)."""
