"""The envelope: CloudEvents 1.0, structured JSON, one flat frozen class a type.

Field order here is the order of keys in canonical bytes. Fields that are None are left out of them.
Outside events carry no sequence, epoch or basis; the gateway's carry no basis.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from schemas.scalars import Id, Name, Time

CONTENT_TYPE = "application/cloudevents+json"


class Model(BaseModel):
    """Base of everything in a record: frozen, no unknown fields, no coercion, finite floats."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


SourceName = Annotated[str, StringConstraints(pattern=r"^/[a-z][a-z0-9_-]*(/[0-9]+)?$")]
Subject = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Z0-9_]+)?$")]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What a column of Postgres and an offset of Kafka hold."""


class Envelope(Model):
    """What every record carries, whatever its type."""

    specversion: Literal["1.0"] = "1.0"
    id: Id
    type: str
    source: SourceName
    subject: Subject
    time: Time
    partitionkey: Name
    sequence: Count | None = None
    epoch: Count | None = None
    causationid: Id | None = None
    correlationid: Id | None = None
    basis: dict[str, Count] | None = None
    after: dict[str, Count] | None = None
    """Causal floor of a record without basis: next offsets of the single-partition topics that a
    report was based on, or that a feed's tick follows. A reader folds those topics at least up to
    there before it decides."""
