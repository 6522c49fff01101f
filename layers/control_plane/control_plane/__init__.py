"""The control plane's logic: what the Lambda handlers in functions/ call."""
