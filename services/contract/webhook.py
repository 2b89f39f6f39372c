"""Webhooks: a URL of the user's, which is told that a job has ended. OpenAI's `webhook_endpoint`, and what became of
each delivery."""

from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.contract.units import Id, Object, UnixTime

EventType = Literal["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
DeliveryStatus = Literal["pending", "delivered", "failed"]
EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)
Events = Annotated[list[EventType], AfterValidator(lambda events: list(dict.fromkeys(events)))]  # each once
SECRET: Final = "whsec_"  # and a key in base64, as Standard Webhooks write it


class NewWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(
        max_length=2048, description="https://…, of a public address: for others see HEADWAY_WEBHOOK_NETWORKS"
    )
    name: str = Field("", max_length=64, description="for people")
    event_types: Events = Field(
        list(EVENT_TYPES), min_length=1, max_length=len(EVENT_TYPES), description="that it is told of"
    )


class ChangedWebhook(BaseModel):
    """What is not given stays."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, max_length=2048, description="as of a new one")
    name: str | None = Field(None, max_length=64, description="for people")
    event_types: Events | None = Field(
        None, min_length=1, max_length=len(EVENT_TYPES), description="all that it shall be told of from now on"
    )


class RotatedSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keep_old_secret_active_for_24_hours: bool = Field(
        False, description="messages are signed by both meanwhile; else the old one is over at once"
    )


class AskedTest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_type: EventType = Field("fine_tuning.job.succeeded", description="of the sample that is sent")


class Webhook(BaseModel):
    id: Id
    object: Object[Literal["webhook_endpoint"]] = "webhook_endpoint"
    name: str = Field(description="for people")
    url: str = Field(description="that is posted to")
    event_types: list[EventType] = Field(description="that it is told of")
    created_at: UnixTime
    updated_at: UnixTime
    signing_secret_hint: str = Field(description="the end of its secret, which is shown once")


class WebhookWithSecret(Webhook):
    signing_secret: str = Field(
        description="for `client.webhooks.unwrap`, or any library of Standard Webhooks; it is shown this once"
    )


class WebhookDeleted(BaseModel):
    id: str = Field(description="of the webhook that went")
    object: Object[Literal["webhook_endpoint.deleted"]] = "webhook_endpoint.deleted"
    deleted: bool = Field(True, description="always true")


class WebhookTested(BaseModel):
    object: Object[Literal["webhook_endpoint.test"]] = "webhook_endpoint.test"
    webhook_endpoint_id: str = Field(description="of the webhook")
    event_type: EventType = Field(description="of the sample that was sent")
    status_code: int = Field(description="of its HTTP answer")
    success: Literal[True] = Field(True, description="always true: it answered, whatever it said")


class EventTypes(BaseModel):
    object: Object[Literal["list"]] = "list"
    data: list[EventType] = Field(description="that a webhook can be told of")


class DeliveryAttempt(BaseModel):
    """One try to deliver."""

    at: UnixTime
    status_code: int | None = Field(None, description="of its HTTP answer, where there was one")
    error: str | None = Field(None, description="why there was none, or why that was not taken")


class Delivery(BaseModel):
    """One event, for one webhook: tried again for three days until it answers 2xx."""

    id: str = Field(description="the message's `webhook-id`, the same at each try: a receiver knows repeats by it")
    object: Object[Literal["webhook_endpoint.delivery"]] = "webhook_endpoint.delivery"
    webhook: str = Field(description="the webhook's id")
    job: str = Field(description="the job that ended")
    event: EventType = Field(description="that it is told of")
    created_at: UnixTime
    status: DeliveryStatus = Field("pending", description='"failed": given up, until it is asked for again')
    attempts: int = Field(0, description="since it was asked for last")
    due_since: int = Field(description="Unix time, s: its first try since it was asked for last, or when that was")
    last_attempt: DeliveryAttempt | None = Field(None, description="null before the first")
    next_attempt_at: int | None = Field(None, description="Unix time, s; null where there will be none")


class DeliveriesResent(BaseModel):
    object: Object[Literal["webhook_endpoint.deliveries.resent"]] = "webhook_endpoint.deliveries.resent"
    resent: list[str] = Field(description="ids of the deliveries that are sent again")
