"""Operations of SageMaker's that localcloud has not: a clear refusal that says what to do instead."""

from __future__ import annotations

import re

from localcloud.errors import ApiError

STATUS = 501  # which the SDKs of AWS do not retry

# What an operation's name contains → what localcloud has not, and what to do. The first that fits counts.
_INSTEAD: tuple[tuple[str, str], ...] = (
    (
        "Pipeline",
        "it does not execute SageMaker Pipelines. Run the steps as jobs: from Step Functions "
        "(arn:aws:states:::sagemaker:createTrainingJob.sync and the like) or by the SDK: both run on localcloud; "
        "or run the pipeline in an AWS account",
    ),
    (
        "MonitoringAlert",
        "monitoring schedules have no alerts of their own here. Put a CloudWatch alarm on the metrics of their jobs, "
        "or a rule on the violations files that they write",
    ),
    ("AutoML", "it has no Autopilot. Run training jobs or a tuning job of your own"),
    ("InferenceComponent", "endpoints have no inference components here. Give the production variant a ModelName"),
    ("Labeling|Workforce|Workteam|HumanTask|FlowDefinition", "it has no Ground Truth"),
    ("FeatureGroup|FeatureMetadata|FeatureStore", "it has no Feature Store. Keep features in S3 or DynamoDB"),
    ("Mlflow", "it has no MLflow servers. Run one yourself, or track runs in Experiments"),
    (
        "Compilation|EdgeDeployment|EdgePackaging|Device|OptimizationJob|InferenceRecommendation",
        "it compiles no models",
    ),
    (
        "Cluster|ComputeQuota|TrainingPlan|ReservedCapacity",
        "it has no clusters or reserved capacity: it is one machine",
    ),
    ("Notebook|Domain|UserProfile|App|Space|Studio|Presigned|Image|Lcc", "it has no notebooks and no Studio"),
    ("Lineage", "it does not search lineage as a graph. ListAssociations follows it step by step"),
    ("Hub", "it has no hub of models. Register models in the Model Registry"),
    ("ModelCard", "it has no model cards. A model package takes its card as ModelCard"),
    ("Algorithm", "it has no algorithms as resources. Give training jobs a TrainingImage"),
)


def refusal(operation: str) -> ApiError:
    """The error that answers an operation which SageMaker has and localcloud has not."""
    otherwise = "make the call in an AWS account, or leave it out when the endpoint is localcloud's"
    why = next((advice for words, advice in _INSTEAD if re.search(words, operation)), otherwise)
    return ApiError(
        "UnsupportedOperationException",
        f"localcloud does not implement SageMaker's {operation}: {why}. docs/localcloud.md lists what it implements.",
        STATUS,
    )
