"""Probes: requests with known answers, sent to one variant of an endpoint, and what its answers say about it.

The evaluation job writes them (probes.json): histories of held-out engines, their true RUL, and what the model answered
offline. An endpoint that serves this model as it was registered gives the same answers, whether anybody uses it or not.
"""

from __future__ import annotations

import json
import math
import statistics
import time
import uuid
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError
from pydantic import BaseModel, Field

from control_plane import clients
from control_plane.settings import AssessmentSettings
from control_plane.verdict import Check, Reason

INFERENCE_ID_PREFIX = "onwing-probe-"  # by which monitoring leaves probes out
# An answer that takes longer than clients.PROBE_READ_SECONDS, or than twice what the limit allows, counts as lost; but
# the function must end. One that is lost may be the network's doing, so that the probe is asked again, once.
MOST_READ_SECONDS = 20.0
TRIES = 2
# After this no more engine is asked for alone: the request with all of them asks for those that are left, too.
SECONDS = 15.0
# Errors of InvokeEndpoint that are the model's; all others (throttling, access denied, …) say nothing about it.
MODEL_ERRORS = frozenset({"ModelError", "ServiceUnavailable", "ModelNotReadyException", "InternalDependencyException"})
# True RULs must differ by this much (cycles) before equal answers to all of them count against a model.
SPREAD = 10.0
# A slow way to the endpoint slows the champion as well: only what is this much slower is the model's own doing.
SLOWER_THAN_CHAMPION = 1.5
MESSAGE_CHARACTERS = 200


class Probe(BaseModel):
    """One engine: its history as text, the true RUL after it and the registered model's answer, in cycles."""

    unit: int
    cycle: int
    body: str = Field(min_length=1)
    rul: float = Field(allow_inf_nan=False)
    expected: float = Field(allow_inf_nan=False)


class ProbeSet(BaseModel):
    """The content of probes.json; `tolerance` is how far a served answer may be off, in cycles."""

    artifact_sha256: str
    content_type: str
    tolerance: float = Field(gt=0)
    probes: list[Probe] = Field(min_length=1)

    @property
    def batch(self) -> str:
        """All engines in one body."""
        return "\n".join(probe.body for probe in self.probes)


@dataclass
class Answers:
    """What a variant made of the probes.

    `singles` and `batch` are RULs in cycles in the order of the probes, from requests with one engine and from one with
    all; what failed or was not asked is missing from them. Sending ends early when the server hangs.
    """

    sent: int = 0
    hangs: bool = False
    singles: list[float] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)  # of the singles after the first
    errors: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every probe has a finite answer: the request with all engines is the last one."""
        failed = self.errors or self.misshapen or not self.batch
        return not failed and all(map(math.isfinite, self.singles + self.batch))

    @property
    def ruls(self) -> list[float]:
        """One answer a probe."""
        return self.singles if len(self.singles) == len(self.batch) else self.batch

    @property
    def latency_ms(self) -> float | None:
        """Median of the single requests after the first; None without answers."""
        return statistics.median(self.milliseconds) if self.milliseconds else None

    def rmse(self, probes: ProbeSet) -> float | None:
        """Root mean squared error against the true RUL, in cycles; None unless complete."""
        return _rms(_differences(self.ruls, [probe.rul for probe in probes.probes])) if self.complete else None

    def difference(self, other: Answers) -> float | None:
        """Mean absolute difference from another variant's answers, in cycles; None unless both are complete."""
        if not (self.complete and other.complete):
            return None
        return statistics.fmean(map(abs, _differences(self.ruls, other.ruls)))


@lru_cache(maxsize=8)
def load(bucket: str, key: str) -> ProbeSet:
    """The probes under a key, once per process: an evaluation's documents are never written again."""
    return ProbeSet.model_validate_json(clients.s3().get_object(Bucket=bucket, Key=key)["Body"].read())


def send(
    endpoint: str, variant: str, probes: ProbeSet, limits: AssessmentSettings, *, batch_only: bool = False
) -> Answers:
    """Send every probe alone and then all in one request to a variant, one after the other; or only the latter.

    The first is sent once before, so that the latencies are those of a warm connection and a warm model. Raises what is
    not the model's doing (ClientError and BotoCoreError), so that the caller tries again.
    """
    alone = [] if batch_only else [[probes.probes[0]], *([probe] for probe in probes.probes)]
    requests = [*alone, probes.probes]
    answers = Answers()
    patience = min(max(clients.PROBE_READ_SECONDS, 2 * limits.latency_limit_ms / 1000), MOST_READ_SECONDS)
    end = time.monotonic() + SECONDS
    for number, engines in enumerate(requests):
        is_batch = number == len(requests) - 1
        if answers.hangs:
            break
        if not is_batch and answers.milliseconds and time.monotonic() > end:
            continue  # how fast it answers is known by now
        answers.sent += 1
        body = probes.batch if is_batch else engines[0].body
        found = _invoke(endpoint, variant, probes.content_type, body, patience, answers)
        if found is None:
            continue
        content, milliseconds = found
        try:
            ruls = parse(content, engines)
        except ValueError as error:
            answers.misshapen.append(str(error))
            continue
        if is_batch:
            answers.batch = ruls
        elif number > 0:
            answers.singles += ruls
            answers.milliseconds.append(milliseconds)
    return answers


def parse(content: bytes, engines: list[Probe]) -> list[float]:
    """RULs of the engines asked for, in their order; NaN for what is no number. Raises ValueError for another shape."""
    try:
        predictions: Any = json.loads(content)["predictions"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"the answer is not {{'predictions': […]}} but {_short(content)}") from None
    if not isinstance(predictions, list) or not all(isinstance(each, dict) and "rul" in each for each in predictions):
        raise ValueError(f"predictions without RUL: {_short(content)}")
    if len(predictions) != len(engines):
        raise ValueError(f"{len(predictions)} prediction(s) for {len(engines)} engine(s)")
    for prediction, engine in zip(predictions, engines, strict=True):
        if (prediction.get("unit"), prediction.get("cycle")) != (engine.unit, engine.cycle):
            found = f"unit {prediction.get('unit')} at cycle {prediction.get('cycle')}"
            raise ValueError(f"a prediction for {found} where unit {engine.unit} at cycle {engine.cycle} was asked for")
    return [_number(prediction["rul"]) for prediction in predictions]


def judge(
    variant: str, answers: Answers, probes: ProbeSet, limits: AssessmentSettings, champion: Answers | None = None
) -> list[Reason]:
    """What speaks against the variant, which is to serve the model that these are the probes of.

    A champion that has not answered all probes itself is no measure.
    """
    reasons = _judge_manner(variant, answers, limits, champion)
    if not answers.complete:
        return reasons
    true = [probe.rul for probe in probes.probes]
    if _spread(true) > SPREAD and _spread(answers.ruls) <= probes.tolerance:
        message = (
            f"{variant} answers {answers.ruls[0]:.1f} cycles to every probe, though the engines' true RULs lie "
            f"{_spread(true):.0f} cycles apart"
        )
        reasons.append(_reason("probe-constant", message, _spread(answers.ruls), probes.tolerance))
    reasons += _judge_parity(variant, answers, probes)
    if champion is not None and champion.complete:
        reasons += _judge_against(variant, answers, champion, probes, limits)
    return reasons


def _judge_manner(variant: str, answers: Answers, limits: AssessmentSettings, champion: Answers | None) -> list[Reason]:
    """Whether it answers at all, in the right shape, with numbers, soon enough."""
    reasons = []
    if answers.errors:
        message = f"{variant} failed {len(answers.errors)} of {answers.sent} probes: {answers.errors[0]}"
        reasons.append(_reason("probe-error", message, len(answers.errors), 0))
    if answers.misshapen:
        message = f"{variant} gave {len(answers.misshapen)} of {answers.sent} probes another shape: "
        reasons.append(_reason("probe-shape", message + answers.misshapen[0], len(answers.misshapen), 0))
    every = answers.singles + answers.batch
    if bad := sum(not math.isfinite(rul) for rul in every):
        message = f"{variant} answered {bad} of {len(every)} engines with NaN, infinity or no number"
        reasons.append(_reason("probe-not-finite", message, bad, 0))
    allowed = max(limits.latency_limit_ms, SLOWER_THAN_CHAMPION * ((champion and champion.latency_ms) or 0.0))
    if (latency := answers.latency_ms) is not None and latency > allowed:
        message = f"{variant} takes {latency:.0f} ms for a probe (median; at most {allowed:.0f} ms)"
        reasons.append(_reason("latency", message, latency, allowed))
    return reasons


def _judge_parity(variant: str, answers: Answers, probes: ProbeSet) -> list[Reason]:
    """Whether it answers as the registered model did, one by one and in a batch."""
    expected = [probe.expected for probe in probes.probes]
    off = [d for ruls in (answers.singles, answers.batch) for d in _differences(ruls, expected[: len(ruls)])]
    worst = max(map(abs, off))
    if worst <= probes.tolerance:
        return []
    message = f"{variant}: answers are {_direction(off)} what was registered, at most {worst:.1f} off"
    return [_reason("probe-parity", f"{message} (allowed: {probes.tolerance:g})", worst, probes.tolerance)]


def _judge_against(
    variant: str, answers: Answers, champion: Answers, probes: ProbeSet, limits: AssessmentSettings
) -> list[Reason]:
    """Whether it is much further from the truth than the champion, or far from the champion without being nearer it."""
    true = [probe.rul for probe in probes.probes]
    own, its = _rms(_differences(answers.ruls, true)), _rms(_differences(champion.ruls, true))
    reasons = []
    if own > its + limits.rmse_margin:
        message = (
            f"{variant}: RMSE on the probes is {own:.1f} cycles, the champion's {its:.1f} (allowed: "
            f"{limits.rmse_margin:g} more)"
        )
        reasons.append(_reason("probe-rmse", message, own, its + limits.rmse_margin))
    off = _differences(answers.ruls, champion.ruls)
    mean = statistics.fmean(map(abs, off))
    if mean > limits.difference_tolerance and own >= its:
        message = (
            f"{variant}: answers are {_direction(off)} the champion's, {mean:.1f} away on average (allowed: "
            f"{limits.difference_tolerance:g})"
        )
        reasons.append(_reason("probe-difference", message, mean, limits.difference_tolerance))
    return reasons


def _invoke(
    endpoint: str, variant: str, content_type: str, body: str, patience: float, answers: Answers
) -> tuple[bytes, float] | None:
    """The answer's body and how long it took, in ms; None if the model failed, which is then among the errors."""
    for _ in range(TRIES):
        begin = time.perf_counter()
        try:
            response = clients.sagemaker_runtime(patience).invoke_endpoint(
                EndpointName=endpoint,
                TargetVariant=variant,
                ContentType=content_type,
                Accept="application/json",
                InferenceId=f"{INFERENCE_ID_PREFIX}{uuid.uuid4()}",
                Body=body.encode(),
            )
            return response["Body"].read(), (time.perf_counter() - begin) * 1000
        except ReadTimeoutError:
            continue
        except ClientError as error:
            details: Any = error.response
            if details["Error"]["Code"] not in MODEL_ERRORS:
                raise
            status = details.get("OriginalStatusCode") or details["Error"]["Code"]
            told = details.get("OriginalMessage") or details["Error"].get("Message", "")
            answers.errors.append(f"{status}, {_short(told)}")
            return None
    answers.hangs = True
    answers.errors.append(f"no answer within {patience:g} s, asked {TRIES} times")
    return None


def _direction(off: list[float]) -> str:
    """In words: on which side, and how far, unless the differences cancel out."""
    bias, size = statistics.fmean(off), statistics.fmean(map(abs, off))
    if abs(bias) < size / 2:
        return f"on average {size:.1f} cycles, up and down, away from"
    return f"on average {abs(bias):.1f} cycles {'above' if bias > 0 else 'below'}"


def _differences(one: list[float], other: list[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def _rms(values: list[float]) -> float:
    return math.sqrt(statistics.fmean(value * value for value in values))


def _spread(values: list[float]) -> float:
    return max(values) - min(values)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]  # whatever JSON holds
    except (TypeError, ValueError):
        return math.nan


def _short(text: str | bytes) -> str:
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    text = " ".join(text.split())
    return repr(text if len(text) <= MESSAGE_CHARACTERS else f"{text[:MESSAGE_CHARACTERS]}…")


def _reason(check: Check, message: str, value: float, limit: float) -> Reason:
    return Reason(check=check, message=message, value=round(value, 4), limit=round(limit, 4))
