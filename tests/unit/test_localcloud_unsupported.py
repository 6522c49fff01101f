"""Operations that localcloud has not are refused in a way that helps."""

import pytest
from botocore.session import get_session

from localcloud.errors import ApiError

from .localcloud_bench import Bench


@pytest.mark.parametrize(
    ("operation", "advice"),
    [
        ("CreatePipeline", "does not execute SageMaker Pipelines. Run the steps as jobs: from Step Functions"),
        ("StartPipelineExecution", "does not execute SageMaker Pipelines"),
        ("ListMonitoringAlerts", "Put a CloudWatch alarm on the metrics of their jobs"),
        ("CreateFeatureGroup", "Keep features in S3 or DynamoDB"),
        ("CreateNotebookInstance", "no notebooks"),
        ("CreateCodeRepository", "make the call in an AWS account"),
    ],
)
def test_refusal_says_what_to_do_instead(bench: Bench, operation: str, advice: str) -> None:
    with pytest.raises(ApiError) as error:
        bench.call(operation)
    assert (error.value.code, error.value.status) == ("UnsupportedOperationException", 501)
    assert f"localcloud does not implement SageMaker's {operation}: " in error.value.message
    assert advice in error.value.message


def test_every_operation_of_sagemakers_is_implemented_or_refused(bench: Bench) -> None:
    for operation in get_session().get_service_model("sagemaker").operation_names:
        if operation not in bench.sagemaker.operations:
            with pytest.raises(ApiError, match="UnsupportedOperationException"):
                bench.call(operation)


def test_notes_on_what_is_partial_name_operations_that_there_are(bench: Bench) -> None:
    sagemaker = bench.sagemaker
    families = (sagemaker.training, sagemaker.processing, sagemaker.tuning, sagemaker.registry, sagemaker.search)
    for family in families:
        assert set(family.partial) <= set(family.operations)
