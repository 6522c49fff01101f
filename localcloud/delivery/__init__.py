"""What EventBridge and its Scheduler deliver to their targets."""
