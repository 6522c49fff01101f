"""Lineage entities and their associations."""

from typing import Any

import pytest

from localcloud.errors import ResourceNotFound, ValidationException

from .localcloud_bench import Bench


def artifact(bench: Bench, uri: str = "s3://bucket/data", etag: str = "1", **more: Any) -> str:
    source = {"SourceUri": uri, "SourceTypes": [{"SourceIdType": "S3ETag", "Value": etag}]}
    arn: str = bench.call("CreateArtifact", Source=source, ArtifactType="Data", **more)["ArtifactArn"]
    return arn


def test_artifact_is_known_by_its_source(bench: Bench) -> None:
    first = artifact(bench, ArtifactName="data", Properties={"rows": "3"})
    assert artifact(bench, etag="2") != first
    with pytest.raises(ValidationException, match="already exists"):
        artifact(bench)
    bench.call("UpdateArtifact", ArtifactArn=first, Properties={"columns": "4"}, PropertiesToRemove=["rows"])
    described = bench.call("DescribeArtifact", ArtifactArn=first)
    assert (described["ArtifactName"], described["Properties"]) == ("data", {"columns": "4"})
    found = bench.call("ListArtifacts", SourceUri="s3://bucket/data", ArtifactType="Data")["ArtifactSummaries"]
    assert len(found) == 2
    assert bench.call("ListArtifacts", SourceUri="s3://bucket/other")["ArtifactSummaries"] == []
    assert bench.call("DeleteArtifact", Source=described["Source"]) == {"ArtifactArn": first}
    with pytest.raises(ResourceNotFound):
        bench.call("DescribeArtifact", ArtifactArn=first)


@pytest.mark.parametrize("stem", ["Action", "Context"])
def test_actions_and_contexts_are_known_by_name(bench: Bench, stem: str) -> None:
    name = {f"{stem}Name": "deploy"}
    bench.call(f"Create{stem}", **name, **{f"{stem}Type": "T"}, Source={"SourceUri": "arn:x"})
    bench.call(f"Update{stem}", **name, Description="why")
    assert bench.call(f"Describe{stem}", **name)["Description"] == "why"
    assert [each[f"{stem}Name"] for each in bench.call(f"List{stem}s")[f"{stem}Summaries"]] == ["deploy"]
    bench.call(f"Delete{stem}", **name)
    with pytest.raises(ResourceNotFound):
        bench.call(f"Describe{stem}", **name)


def test_associations_join_what_there_is_and_go_with_it(bench: Bench) -> None:
    data = artifact(bench, ArtifactName="data")
    run = bench.call("CreateTrialComponent", TrialComponentName="run")["TrialComponentArn"]
    ends = {"SourceArn": data, "DestinationArn": run}
    bench.call("AddAssociation", **ends, AssociationType="ContributedTo")
    with pytest.raises(ValidationException, match="already exists"):
        bench.call("AddAssociation", **ends)
    with pytest.raises(ResourceNotFound):
        bench.call("AddAssociation", SourceArn=data, DestinationArn=run.replace("/run", "/nobody"))
    [found] = bench.call("ListAssociations", DestinationArn=run, AssociationType="ContributedTo")[
        "AssociationSummaries"
    ]
    assert (found["SourceArn"], found["SourceType"], found["SourceName"]) == (data, "Data", "data")
    bench.call("DeleteAssociation", **ends)
    with pytest.raises(ResourceNotFound):
        bench.call("DeleteAssociation", **ends)
    bench.call("AddAssociation", **ends)
    bench.call("DeleteArtifact", ArtifactArn=data)
    assert bench.call("ListAssociations")["AssociationSummaries"] == []
