"""What a data scientist writes with the SageMaker SDK: train with AWS's image, deploy, predict, transform.

Usage: deploy.py BUCKET. What came of it goes to result.json.
"""

import json
import sys
from pathlib import Path

from sagemaker.core import image_uris
from sagemaker.core.helper import IamRoleResolver
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.resources import Endpoint, EndpointConfig, Model
from sagemaker.core.transformer import Transformer
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode

PROJECT = Path(__file__).parent / "project"

session = Session(default_bucket=sys.argv[1])
role = IamRoleResolver().create_execution_role(role_type="training")
image = image_uris.retrieve("sklearn", session.boto_region_name, version="1.2-1", instance_type="ml.m5.large")

data = Path("train.csv")
data.write_text("".join(f"{x},{2 * x + 1}\n" for x in range(50)))
trainer = ModelTrainer(
    sagemaker_session=session,
    role=role,
    training_image=image,
    source_code=SourceCode(source_dir=str(PROJECT), entry_script="train.py"),
    compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=1),
    hyperparameters={"alpha": 0.001},
    base_job_name="sdk-deploy",
)
raw = session.upload_data(str(data), key_prefix="raw")
trainer.train(input_data_config=[InputData(channel_name="train", data_source=raw)], wait=True, logs=False)

builder = ModelBuilder(
    image_uri=image,
    s3_model_data_url=trainer._latest_training_job.model_artifacts.s3_model_artifacts,
    source_code=SourceCode(source_dir=str(PROJECT), entry_script="train.py"),
    role_arn=role,
    sagemaker_session=session,
    instance_type="ml.m5.large",
)
model = builder.build(model_name="sdk-model")
endpoint = builder.deploy(endpoint_name="sdk-endpoint", initial_instance_count=1, instance_type="ml.m5.large")
answer = endpoint.invoke(body="10\n20\n", content_type="text/csv", accept="application/json")
result = {
    "model": model.model_name,
    "status": Endpoint.get("sdk-endpoint").endpoint_status,
    "prediction": json.loads(answer.body.read()),
    "environment": Model.get("sdk-model").primary_container.environment,
}
batch = Path("batch.csv")
batch.write_text("1\n2\n3\n")
transformer = Transformer(
    model_name="sdk-model",
    instance_count=1,
    instance_type="ml.m5.large",
    output_path=f"s3://{sys.argv[1]}/batch-out",
    accept="application/json",
    sagemaker_session=session,
)
uploaded = session.upload_data(str(batch), key_prefix="batch-in")
transformer.transform(data=uploaded, content_type="text/csv", split_type="Line", wait=True, logs=False)
result["batch"] = json.loads(session.read_s3_file(sys.argv[1], "batch-out/batch.csv.out"))

config = EndpointConfig.get(Endpoint.get("sdk-endpoint").endpoint_config_name)
endpoint.delete()
endpoint.wait_for_delete()
config.delete()
model.delete()
Path("result.json").write_text(json.dumps(result))
