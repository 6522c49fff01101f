"""Lineage: artifacts, actions and contexts, and what is associated with what.

https://docs.aws.amazon.com/sagemaker/latest/dg/lineage-tracking-entities.html
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any, ClassVar

from localcloud.errors import ResourceNotFound, ValidationException
from localcloud.sagemaker import listing
from localcloud.sagemaker.api import project, service_model
from localcloud.sagemaker.tags import Tags
from localcloud.store import Record, Scope, Store, now

STEMS = ("Artifact", "Action", "Context")
ASSOCIATION = "association"


class Lineage:
    """CreateArtifact, CreateAction, CreateContext and their families."""

    operations = tuple(
        operation
        for stem in STEMS
        for operation in (*(f"{verb}{stem}" for verb in ("Create", "Describe", "Update", "Delete")), f"List{stem}s")
    )
    partial: ClassVar[dict[str, str]] = {
        "CreateArtifact": "jobs, models and endpoints make no lineage entities by themselves."
    }

    def __init__(self, store: Store, tags: Tags) -> None:
        self._store = store
        self._tags = tags

    def create_artifact(self, scope: Scope, request: Record) -> Record:
        """Create an artifact; two have never the same source."""
        source = request["Source"]
        known = [source["SourceUri"], sorted((each["SourceIdType"], each["Value"]) for each in _ids(source))]
        name = hashlib.md5(json.dumps(known).encode(), usedforsecurity=False).hexdigest()
        return self._create(scope, "Artifact", name, request)

    def create_action(self, scope: Scope, request: Record) -> Record:
        """Create an action."""
        return self._create(scope, "Action", request["ActionName"], request)

    def create_context(self, scope: Scope, request: Record) -> Record:
        """Create a context."""
        return self._create(scope, "Context", request["ContextName"], request)

    def describe_artifact(self, scope: Scope, request: Record) -> Record:
        """Everything about one artifact, by ARN."""
        return self._describe(scope, "Artifact", request["ArtifactArn"])

    def describe_action(self, scope: Scope, request: Record) -> Record:
        """Everything about one action."""
        return self._describe(scope, "Action", request["ActionName"])

    def describe_context(self, scope: Scope, request: Record) -> Record:
        """Everything about one context."""
        return self._describe(scope, "Context", request["ContextName"])

    def update_artifact(self, scope: Scope, request: Record) -> Record:
        """Change its name and properties."""
        return self._update(scope, "Artifact", request["ArtifactArn"], request, ("ArtifactName",))

    def update_action(self, scope: Scope, request: Record) -> Record:
        """Change its description, status and properties."""
        return self._update(scope, "Action", request["ActionName"], request, ("Description", "Status"))

    def update_context(self, scope: Scope, request: Record) -> Record:
        """Change its description and properties."""
        return self._update(scope, "Context", request["ContextName"], request, ("Description",))

    def delete_artifact(self, scope: Scope, request: Record) -> Record:
        """Delete an artifact, by ARN or source."""
        if ("ArtifactArn" in request) == ("Source" in request):
            raise ValidationException("Either ArtifactArn or Source must be specified.")
        name = request.get("ArtifactArn")
        if name is None:
            with self._store.lock:
                sources = {each["Arn"]: each["Source"] for each in self._store.table(scope, "artifact").values()}
            found = [arn for arn, source in sources.items() if source == request["Source"]]
            if not found:
                raise ResourceNotFound(f"Artifact with the source '{request['Source']['SourceUri']}' does not exist.")
            name = found[0]
        return self._delete(scope, "Artifact", name)

    def delete_action(self, scope: Scope, request: Record) -> Record:
        """Delete an action."""
        return self._delete(scope, "Action", request["ActionName"])

    def delete_context(self, scope: Scope, request: Record) -> Record:
        """Delete a context."""
        return self._delete(scope, "Context", request["ContextName"])

    def list_artifacts(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        return self._list(scope, "Artifact", request)

    def list_actions(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        return self._list(scope, "Action", request)

    def list_contexts(self, scope: Scope, request: Record) -> Record:
        """Summaries, newest first."""
        return self._list(scope, "Context", request)

    # --- inside ---

    def _create(self, scope: Scope, stem: str, name: str, request: Record) -> Record:
        arn = scope.arn(stem.lower(), name)
        with self._store.lock:
            table = self._store.table(scope, stem.lower())
            if name in table:
                raise ValidationException(f"{stem} '{arn}' already exists.")
            self._tags.put(scope, arn, request.get("Tags", []))
            table[name] = {
                **{member: copy.deepcopy(value) for member, value in request.items() if member != "Tags"},
                "Arn": arn,
                f"{stem}Arn": arn,
                "_uri": request["Source"]["SourceUri"],
                "CreationTime": now(),
                "LastModifiedTime": now(),
                "CreatedBy": {},
                "LastModifiedBy": {},
            }
        return {f"{stem}Arn": arn}

    def _find(self, scope: Scope, stem: str, name: str) -> Record:
        record = self._store.table(scope, stem.lower()).get(name.rsplit("/", 1)[-1])
        if record is None:
            arn = name if name.startswith("arn:") else scope.arn(stem.lower(), name)
            raise ResourceNotFound(f"{stem} '{arn}' does not exist.")
        return record

    def _describe(self, scope: Scope, stem: str, name: str) -> Record:
        shape: Any = service_model("sagemaker").operation_model(f"Describe{stem}").output_shape
        with self._store.lock:
            return copy.deepcopy(project(shape, self._find(scope, stem, name)))

    def _update(self, scope: Scope, stem: str, name: str, request: Record, members: tuple[str, ...]) -> Record:
        with self._store.changing(self._find(scope, stem, name)) as record:
            record.update({member: request[member] for member in members if member in request})
            properties = {**record.get("Properties", {}), **request.get("Properties", {})}
            for key in request.get("PropertiesToRemove", []):
                properties.pop(key, None)
            record["Properties"] = properties
            return {f"{stem}Arn": record["Arn"]}

    def _delete(self, scope: Scope, stem: str, name: str) -> Record:
        with self._store.lock:
            record = self._find(scope, stem, name)
            arn = record["Arn"]
            del self._store.table(scope, stem.lower())[arn.rsplit("/", 1)[-1]]
            self._tags.drop(scope, arn)
            associations = self._store.table(scope, ASSOCIATION)
            for key in [
                key for key, each in associations.items() if arn in (each["SourceArn"], each["DestinationArn"])
            ]:
                del associations[key]
        return {f"{stem}Arn": arn}

    def _list(self, scope: Scope, stem: str, request: Record) -> Record:
        shape: Any = service_model("sagemaker").shape_for(f"{stem}Summary")
        filters = {**request, **_times(request)}
        extra = {"SourceUri": "_uri", f"{stem}Type": f"{stem}Type"}
        with self._store.lock:
            records = self._store.table(scope, stem.lower()).values()
            found = listing.select(records, filters, name=f"{stem}Name", extra=extra)
            chosen, token = listing.page(found, request, sort={"Name": f"{stem}Name", "CreationTime": "CreationTime"})
            return {
                f"{stem}Summaries": [copy.deepcopy(project(shape, record)) for record in chosen],
                "NextToken": token,
            }


class Associations:
    """AddAssociation and its family."""

    operations = ("AddAssociation", "DeleteAssociation", "ListAssociations")
    partial: ClassVar[dict[str, str]] = {}

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_association(self, scope: Scope, request: Record) -> Record:
        """Say that one entity has to do with another."""
        source, destination = request["SourceArn"], request["DestinationArn"]
        with self._store.lock:
            table = self._store.table(scope, ASSOCIATION)
            ends = [self._entity(scope, arn) for arn in (source, destination)]
            if _key(source, destination) in table:
                raise ValidationException(f"Association between '{source}' and '{destination}' already exists.")
            table[_key(source, destination)] = {
                **{member: request[member] for member in request},
                **{
                    f"{end}{what}": value
                    for end, entity in zip(("Source", "Destination"), ends, strict=True)
                    for what, value in entity.items()
                },
                "CreationTime": now(),
                "CreatedBy": {},
            }
        return {"SourceArn": source, "DestinationArn": destination}

    def delete_association(self, scope: Scope, request: Record) -> Record:
        """Take it back."""
        source, destination = request["SourceArn"], request["DestinationArn"]
        with self._store.lock:
            if self._store.table(scope, ASSOCIATION).pop(_key(source, destination), None) is None:
                raise ResourceNotFound(f"Association between '{source}' and '{destination}' does not exist.")
        return {"SourceArn": source, "DestinationArn": destination}

    def list_associations(self, scope: Scope, request: Record) -> Record:
        """Associations of a source, a destination or a kind, newest first."""
        members = ("SourceArn", "DestinationArn", "SourceType", "DestinationType", "AssociationType")
        shape: Any = service_model("sagemaker").shape_for("AssociationSummary")
        with self._store.lock:
            records = self._store.table(scope, ASSOCIATION).values()
            found = listing.select(
                records, {**request, **_times(request)}, name="SourceName", extra={each: each for each in members}
            )
            sort = {each: each for each in (*members, "CreationTime")}
            chosen, token = listing.page(found, request, sort=sort)
            return {
                "AssociationSummaries": [copy.deepcopy(project(shape, record)) for record in chosen],
                "NextToken": token,
            }

    def _entity(self, scope: Scope, arn: str) -> Record:
        """Type and name of what an ARN stands for; any resource of SageMaker's may be associated."""
        kind, _, name = arn.split(":", 5)[-1].partition("/")
        record = self._store.table(scope, kind).get(name) or self._store.table(scope, kind).get(arn)
        if record is None:
            raise ResourceNotFound(f"Resource '{arn}' does not exist.")
        stem = kind.title()
        found = {"Type": record.get(f"{stem}Type"), "Name": record.get(f"{stem}Name", name)}
        return {what: value for what, value in found.items() if value is not None}


def _ids(source: Record) -> list[dict[str, str]]:
    found: list[dict[str, str]] = source.get("SourceTypes", [])
    return found


def _key(source: str, destination: str) -> str:
    return f"{source} {destination}"


def _times(request: Record) -> Record:
    return {"CreationTimeAfter": request.get("CreatedAfter"), "CreationTimeBefore": request.get("CreatedBefore")}
