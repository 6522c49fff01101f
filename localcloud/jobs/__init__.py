"""SageMaker's jobs: processing, training, batch transform."""
