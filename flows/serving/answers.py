"""What the API answers, as its OpenAPI description says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Version = Annotated[str, Field(description="What is served; another one after each publication.")]


class Health(Answer):
    """The server has its model and rows, and answers."""

    status: Literal["ok"] = "ok"
    photos: int
    version: Version
    outdated: Annotated[
        bool, Field(description="Something newer was published that cannot be loaded; the server's log says why.")
    ]


class Fault(Answer):
    """Why there is no other answer. `reason` is for programs, `message` for people."""

    reason: str
    message: str


class Refusal(Answer):
    """The body of every answer that is an error."""

    error: Fault


class Collection(Answer):
    """What is served: the published photos, the model, and what a client may send."""

    version: Version
    photos: int
    labels: int
    components: int
    network: str
    fingerprint: str
    trained: Annotated[bool, Field(description="False for made-up weights, which name nothing rightly.")]
    max_upload: Annotated[int, Field(description="Bytes of a photo.")]


class VoteOfLabels(Answer):
    """The label that most neighbours have, and the share of them that has it."""

    label: str
    share: Annotated[float, Field(gt=0, le=1)]


class NeighbourPhoto(Answer):
    """A published photo. `name` is its path below the source, `photo` the address of a small picture of it."""

    row: int
    name: str
    label: str
    distance: Annotated[float, Field(ge=0)]
    photo: str


class Place(Answer):
    """A point of the map."""

    x: float
    y: float


class SimilarPhotos(Answer):
    """The published photos nearest to the one that was sent; `vote` is null where none of them has a label."""

    version: Version
    vote: VoteOfLabels | None
    neighbours: list[NeighbourPhoto]
    place: Place


class Features(Answer):
    """The photo's numbers, as a run would have given them: the same bits, read as float32."""

    version: Version
    pcaFeatures: list[float]


class PhotoMap(Answer):
    """Published photos as points; of a large run, a sample. `x`, `y`, `label` (a number in `labels`), `row`: one each.

    `kind` says how the map was made.
    """

    version: Version
    kind: str
    labels: list[str]
    x: list[float]
    y: list[float]
    label: list[int]
    row: list[int]
