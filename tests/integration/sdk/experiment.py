"""What a data scientist writes with the SageMaker SDK: process, train, tune, register.

Nothing here knows of localcloud, but for the bucket, which the SDK would otherwise ask AWS's own STS address about.

Usage: experiment.py BUCKET. What came of it goes to result.json.
"""

import json
import logging
import sys
import time
from pathlib import Path

import boto3
from sagemaker.core import image_uris
from sagemaker.core.experiments.run import Run
from sagemaker.core.helper import IamRoleResolver
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.processing import ProcessingInput, ProcessingOutput, ScriptProcessor
from sagemaker.core.resources import HyperParameterTuningJob, ModelPackage, ModelPackageGroup, TrainingJob
from sagemaker.core.shapes import ProcessingS3Input, ProcessingS3Output
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode
from sagemaker.train.tuner import HyperparameterTuner

PROJECT = Path(__file__).parent / "project"
METRICS = [{"Name": "train:rmse", "Regex": "train:rmse=([0-9.]+);"}]
RESULT: dict[str, object] = {}

logging.getLogger("sagemaker").setLevel(logging.INFO)
session = Session(default_bucket=sys.argv[1])
role = IamRoleResolver().create_execution_role(role_type="training")
image = image_uris.retrieve("sklearn", session.boto_region_name, version="1.2-1", instance_type="ml.m5.large")
RESULT["image"] = image

# --- data ---
data = Path("train.csv")
data.write_text("".join(f"{x},{2 * x + 1}\n" for x in range(50)))
raw = session.upload_data(str(data), key_prefix="raw")

# --- process ---
processor = ScriptProcessor(
    role=role,
    image_uri=image,
    command=["python3"],
    instance_type="ml.m5.large",
    instance_count=1,
    sagemaker_session=session,
)
processor.run(
    code=str(PROJECT / "halve.py"),
    inputs=[
        ProcessingInput(
            input_name="raw",
            s3_input=ProcessingS3Input(
                s3_uri=raw, local_path="/opt/ml/processing/input", s3_data_type="S3Prefix", s3_input_mode="File"
            ),
        )
    ],
    outputs=[
        ProcessingOutput(
            output_name="half",
            s3_output=ProcessingS3Output(
                s3_uri=f"s3://{sys.argv[1]}/half", local_path="/opt/ml/processing/output", s3_upload_mode="EndOfJob"
            ),
        )
    ],
    arguments=["--every", "2"],
    wait=True,
    logs=False,
)
RESULT["half"] = session.read_s3_file(sys.argv[1], "half/half.csv").count("\n")

# --- train ---
trainer = ModelTrainer(
    sagemaker_session=session,
    role=role,
    training_image=image,
    source_code=SourceCode(source_dir=str(PROJECT), entry_script="train.py"),
    compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1),
    hyperparameters={"alpha": 0.5},
    base_job_name="sdk-train",
)
trainer.with_metric_definitions([{"name": "train:rmse", "regex": "train:rmse=([0-9.]+);"}])
trainer.train(input_data_config=[InputData(channel_name="train", data_source=raw)], wait=True, logs=True)
job = TrainingJob.get(trainer._latest_training_job.training_job_name)
RESULT["trained"] = {
    "status": job.training_job_status,
    "artifact": job.model_artifacts.s3_model_artifacts,
    "metrics": {metric.metric_name: metric.value for metric in job.final_metric_data_list},
    "output": trainer.output_data,
}

# --- track ---
with Run(experiment_name="sdk-experiment", run_name="first", sagemaker_session=session) as run:
    run.log_parameters({"alpha": 0.5, "kind": "ridge"})
    for step in range(3):
        run.log_metric("loss", 1 / (step + 1), step=step)
    run.log_file(str(data), name="data")

# --- tune ---
tuner = HyperparameterTuner(
    model_trainer=trainer,
    objective_metric_name="train:rmse",
    metric_definitions=METRICS,
    hyperparameter_ranges={"alpha": ContinuousParameter(0.01, 100.0)},
    objective_type="Minimize",
    strategy="Random",
    max_jobs=2,
    max_parallel_jobs=2,
    random_seed=7,
    base_tuning_job_name="sdk-tune",
)
tuner.tune(inputs=[InputData(channel_name="train", data_source=raw)], wait=True)
tuned = HyperParameterTuningJob.get(tuner.latest_tuning_job.hyper_parameter_tuning_job_name)
RESULT["tuned"] = {
    "status": tuned.hyper_parameter_tuning_job_status,
    "completed": tuned.training_job_status_counters.completed,
    "best": tuner.best_training_job(),
    "metric": tuned.best_training_job.final_hyper_parameter_tuning_job_objective_metric.value,
}

# --- register ---
group = ModelPackageGroup.create(model_package_group_name=f"sdk-{int(time.time() * 1000)}")
builder = ModelBuilder(
    image_uri=image,
    s3_model_data_url=job.model_artifacts.s3_model_artifacts,
    role_arn=role,
    sagemaker_session=session,
    instance_type="ml.m5.large",
)
arn = builder.register(
    model_package_group_name=group.model_package_group_name,
    content_types=["text/csv"],
    response_types=["application/json"],
    inference_instances=["ml.m5.large"],
    approval_status="PendingManualApproval",
)
pending = ModelPackage.get(arn)
# pending.update() would ask for the package by its group's name, which AWS refuses too (sagemaker-python-sdk #5606).
session.sagemaker_client.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
approved = ModelPackage.get(arn)
RESULT["registered"] = {
    "arn": arn,
    "was": pending.model_approval_status,
    "is": approved.model_approval_status,
    "data": approved.inference_specification.containers[0].model_data_url,
}

lines = boto3.client("logs").filter_log_events(
    logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{job.training_job_name}/"
)["events"]
RESULT["log"] = [event["message"] for event in lines if event["message"].startswith("alpha=")]
Path("result.json").write_text(json.dumps(RESULT))
