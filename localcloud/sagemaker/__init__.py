"""SageMaker's API: requests checked, authorised, dispatched; and what is not a job or an endpoint."""
