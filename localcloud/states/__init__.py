"""Step Functions: executions, and the integrations of their tasks."""
