"""SageMaker's models and endpoints, and the requests to them."""
