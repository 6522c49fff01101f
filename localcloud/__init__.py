"""An embedded AWS for SageMaker projects: MiniStack plus a SageMaker that really runs its jobs, in one process."""
