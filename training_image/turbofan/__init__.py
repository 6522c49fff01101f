"""What runs inside SageMaker: turbofan histories become a tested remaining-useful-life model."""
