"""Which tuning jobs may teach another one, and what."""

from typing import Any

import pytest

from localcloud.errors import ValidationException
from localcloud.tuning.warm_start import Parent, check, lessons


def tuning(
    *,
    image: str = "stub:1",
    data: str = "s3://b/train",
    metric: str = "loss",
    tunable: tuple[str, ...] = ("n",),
    static: tuple[str, ...] = ("k",),
    kind: str = "IdenticalDataAndAlgorithm",
) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobConfig": {
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": metric},
            "ParameterRanges": {
                "IntegerParameterRanges": [{"Name": name, "MinValue": "1", "MaxValue": "9"} for name in tunable]
            },
        },
        "TrainingJobDefinition": {
            "AlgorithmSpecification": {"TrainingImage": image},
            "StaticHyperParameters": dict.fromkeys(static, "1"),
            "InputDataConfig": [{"ChannelName": "train", "S3Uri": data}],
        },
        "WarmStartConfig": {"WarmStartType": kind, "ParentHyperParameterTuningJobs": []},
    }


def parent(status: str = "Completed", children: tuple[dict[str, Any], ...] = (), **more: Any) -> Parent:
    record = {
        **tuning(**more),
        "HyperParameterTuningJobName": "parent",
        "HyperParameterTuningJobStatus": status,
    }
    return Parent(record, list(children))


@pytest.mark.parametrize(
    ("request_", "given", "message"),
    [
        (tuning(), parent("InProgress"), "has not ended"),
        (tuning(metric="auc"), parent(), "objective metric must be that of the parent"),
        (tuning(tunable=("n", "m")), parent(), "total number of static and tunable hyperparameters"),
        (tuning(image="stub:2"), parent(), "training image must be"),
        (tuning(data="s3://b/other"), parent(), "input data must be"),
        (
            tuning(tunable=tuple(f"p{number}" for number in range(11)), static=()),
            parent(tunable=("n",), static=tuple(f"p{number}" for number in range(10))),
            "At most 10 hyperparameters may change",
        ),
    ],
)
def test_unlike_parents_are_refused(request_: dict[str, Any], given: Parent, message: str) -> None:
    with pytest.raises(ValidationException, match=message):
        check(request_, [given])


def test_static_may_become_tunable_and_transfer_learning_may_change_data_and_image() -> None:
    check(tuning(tunable=("k",), static=("n",)), [parent()])
    check(tuning(kind="TransferLearning", image="stub:2", data="s3://b/new"), [parent("Stopped"), parent("Failed")])


def test_parents_hand_on_what_they_measured_static_hyperparameters_included() -> None:
    measured = {
        "HyperParameters": {"n": "3", "k": "1"},
        "FinalHyperParameterTuningJobObjectiveMetric": {"MetricName": "loss", "Value": 0.5},
    }
    failed = {"HyperParameters": {"n": "4", "k": "1"}}
    assert lessons(tuning(), [parent(children=(measured, failed))]) == {"": [({"n": "3", "k": "1"}, 0.5)]}
