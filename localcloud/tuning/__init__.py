"""SageMaker's hyperparameter tuning jobs."""
