"""Every lease, timeout and pause of the house, in seconds, in one frozen place; whoever waits is handed this.

`HEADWAY_TIME_SCALE` multiplies all of them, for tests; what must hold between them is checked as they are made, and
holds at any scale.
"""

from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Durations(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def scaled(self, factor: float) -> Self:
        """All of them, `factor` times as long."""
        values: dict[str, Any] = {
            name: value.scaled(factor) if isinstance(value, Durations) else value * factor for name, value in self
        }
        return type(self)(**values)


class TrainerTiming(Durations):
    """What a trainer is handed with its spec."""

    flush: float = 0.1  # steps are packed for so long
    progress: float = 0.5  # between two words about the features
    checkpoint_every: float = 10.0  # what a killed attempt repeats at most, however long an epoch is
    checkpoint_gap: float = 1.0  # between two; only the first and the last do not wait
    segment: float = 10.0  # features are written: what a killed extraction loses at most
    rest: float = 0.5  # after a job, before kernels are chosen for the next: one that comes at once has the cores
    draft: float = 3600.0  # after which a draft in the cache is nobody's any more
    alive_every: float = 10.0  # it says that it is, where it has nothing else to say
    stuck: float = 300.0  # after which work that does not move on is stuck, and it says so no more
    download: float = 30.0  # of silence: a firewall that drops packets would hold the job for minutes


UNSCALED = TrainerTiming()


class Timing(Durations):
    # a job and its owner
    lease: float = 30.0  # by Redis' clock
    renew_every: float = 1.0
    lease_margin: float = 5.0  # the trainer is dead this long before anyone else may claim its job
    cancel_grace: float = 0.7  # from SIGTERM to SIGKILL: a cancelled job's trainer has nothing to save
    stop_grace: float = 5.0  # the same for pause and drain: it writes a checkpoint first
    trainer_start: float = 300.0  # until its first word: torch from a cold disk
    trainer_silence: float = 45.0  # of one that has spoken; then it hangs, and is ended
    work_folder: float = 3600.0  # after which what a killed attempt left in the work folder goes

    # workers
    heartbeat: float = 2.0
    heartbeat_ttl: float = 15.0  # after the last one a worker is gone
    look_every: float = 3.0  # at the line, while idle: what a lost hint costs
    consumer_wakes: float = 0.02  # after a job: by then Celery has put its task away
    consumer_silence: float = 300.0  # while Redis answers, after which Celery's consumer hangs: it may pause for 32

    # a pass that is shared
    shard_lease: float = 30.0  # of a helper; then another may take its shard
    share_every: float = 0.5  # the owner looks what helpers brought
    yield_every: float = 0.5  # a helper looks for a job of its own
    pass_kept: float = 3600.0  # in Redis, without a word of its owner

    # Redis
    socket: float = 3.0  # redis-py's own default retries hung 58 s on a half-open socket (measured); retrying is ours
    patience: float = 2.0  # in which a command is asked again while Redis is away
    attempt_patience: float = 25.0  # the same for an attempt's writes; then it is over
    pool: float = 10.0  # that a request waits for its turn at a connection
    say_outage_every: float = 60.0  # one that comes and goes is one
    retry_first: float = 0.1  # between two tries; doubled each time, up to
    retry_last: float = 2.0

    # background work
    reaper_every: float = 5.0
    short_turn: float = 20.0  # of who moves or deletes a file's bytes
    clock_jump: float = 10.0  # between two looks at a clock; less is drift
    clock_steady: float = 3600.0  # without a jump, until anything is deleted by it: NTP has had its time
    reaper_turn: float = 10.0
    history_stays: float = 3600.0  # in Redis, of an ended job: its streams are followed and come back there
    forget_every: float = 60.0  # a worker looks whether features of its cache were deleted with their pictures
    forgotten_kept: float = 2_592_000.0  # that this is told: a worker that was away for longer keeps them
    files_pause: float = 5.0  # of a worker whose store of objects is away, before it hands its job on
    draft_sweep: float = 600.0  # between looks for what broken uploads left
    abandoned_upload: float = 86400.0
    autoscaler_every: float = 1.0
    autoscaler_turn: float = 10.0
    autoscaler_first_backoff: float = 5.0  # after a start that brought no worker; doubled at each further one, up to
    autoscaler_last_backoff: float = 300.0
    worker_silence: float = 180.0  # of one that runs and does not report; then it is stopped
    ask_again: float = 10.0  # within which a worker that was asked to drain says that it does

    # webhooks
    webhook_every: float = 1.0  # looked for what is due
    webhook_turn: float = 1.0  # what is beyond a tenant's share waits for, behind the others'
    webhook: float = 15.0  # a receiver has to answer
    webhook_lease: float = 60.0  # in which a delivery is tried and settled
    webhook_first_retry: float = 5.0  # after a try that failed; four times as long after each further one, up to
    webhook_last_retry: float = 43_200.0
    webhook_given_up: float = 259_200.0  # after so long
    webhook_kept: float = 259_200.0  # what was delivered, to be looked at
    webhook_failed_kept: float = 2_592_000.0  # what was given up, to be sent again
    webhook_old_secret: float = 86_400.0

    # the API
    headers: float = 10.0  # of a request, from its first byte, or from the connection's
    body: float = 20.0  # of JSON
    images: float = 120.0  # of a body with some: 64 MiB at 5 Mbit/s
    pace: float = 30.0  # within which any body brings its least number of bytes
    listing: float = 300.0  # of an archive: 64 GiB unpacked
    thumbnail: float = 60.0  # of 20 s of a core, which may be shared
    linger: float = 5.0  # for a body that nobody reads: a client sees our answer, then it is cut off
    stream_block: float = 5.0  # one read of the streams waits
    stream_heartbeat: float = 15.0  # of silence, then a comment, so that proxies keep the connection
    stream_retry: float = 3.0  # a browser waits before it comes back
    stream_token: float = 60.0  # in which a page opens its stream
    stream_rest: float = 0.012  # between a few listeners and the next few, for other requests
    stream_pause: float = 1.0  # between two reads while Redis is away
    retry_after: float = 5.0  # a client waits: a pass of the reaper, or a restart of Redis
    api_grace: float = 5.0  # open requests have after a SIGTERM
    vanished: float = 20.0  # a client may leave what we sent it unacknowledged
    rate_window: float = 60.0  # of what may be done so many times a minute
    submission_given_up: float = 10.0  # a first try that said nothing is taken for dead
    submission_by_body: float = 600.0  # in which a marked retry finds its first try
    submission_by_key: float = 86400.0

    prediction: float = 30.0  # until it is given up: on weights that are still being read from a cold disk

    # a predictor
    batch_window: float = 0.005  # a batch waits for images that are just being decoded
    weights_again: float = 60.0  # until weights that could not be had are tried again

    # the command
    client_request: float = 30.0
    client_patience: float = 60.0  # the service may be away before a stream is given up
    client_pause: float = 1.0  # before a stream that broke is taken up again

    # `headway up`
    ready: float = 30.0  # for the API or the store to answer, on a slow disk
    probe: float = 2.0  # for one answer of them
    docker: float = 30.0  # for one of Docker's
    watch_every: float = 0.5  # between two looks at the processes
    restarts_within: float = 120.0  # a process that lived longer is started again at once
    restart_first: float = 0.5  # one that did not last waits, twice as long each time, up to
    restart_last: float = 30.0
    autoscaler_stop: float = 20.0
    worker_stop: float = 15.0
    container_stop: float = 20.0
    reaper_stop: float = 5.0
    api_stop: float = 10.0
    traces_sent: float = 1.0  # what a process waits for its collector as it ends
    store_stop: float = 10.0

    trainer: TrainerTiming = UNSCALED

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        broken = [sentence for sentence, holds in RELATIONS.items() if not holds(self)]
        if broken:
            raise ValueError("; ".join(broken))
        return self


# What must hold between them, in a sentence each.
RELATIONS: dict[str, Callable[[Timing], bool]] = {
    "a lease outlasts several renewals that fail": lambda t: 5 * t.renew_every <= t.lease - t.lease_margin,
    "a renewal that hangs is known to have failed before the trainer must die": lambda t: t.socket < t.lease_margin,
    "a trainer is killed before its lease ends": lambda t: t.cancel_grace < t.lease_margin < t.lease,
    "an attempt gives up before its lease ends": lambda t: (
        t.attempt_patience + t.lease_margin <= t.lease * (1 + 1e-9)  # as floats round
    ),
    "a running attempt's folder is touched before it could be swept": lambda t: 10 * t.renew_every < t.work_folder,
    "a pass outlives its shards' leases": lambda t: 10 * t.shard_lease < t.pass_kept,
    "a worker is not gone for a heartbeat or two that fail": lambda t: 3 * t.heartbeat < t.heartbeat_ttl,
    "a silent worker is gone before it is stopped": lambda t: t.heartbeat_ttl < t.worker_silence,
    "a worker has time for its trainer's checkpoint": lambda t: t.stop_grace < t.worker_stop,
    "a container has the time of its worker": lambda t: t.worker_stop <= t.container_stop,
    "an autoscaler has time for its workers": lambda t: t.worker_stop < t.autoscaler_stop,
    "the API has time for its requests and its last traces": lambda t: t.api_grace + t.traces_sent < t.api_stop,
    "a turn is renewed before it ends": lambda t: (
        t.reaper_every < t.reaper_turn and 2 * t.autoscaler_every < t.autoscaler_turn
    ),
    "an idle worker looks at the line before its reaper would": lambda t: t.look_every < t.reaper_every,
    "a slow body is cut before its client gives up": lambda t: (
        t.linger < t.headers < t.body < t.pace <= t.client_request
    ),
    "a stream's heartbeat comes before anyone takes it for dead": lambda t: (
        t.stream_heartbeat < min(t.vanished, t.client_request)
    ),
    "a retry finds its first try for longer than that may take": lambda t: t.submission_given_up < t.submission_by_body,
    "a trainer that works is never silent for long": lambda t: 3 * t.trainer.alive_every < t.trainer_silence,
    "a stream that comes back finds its job's history where it was": lambda t: t.stream_retry < t.history_stays,
    "a webhook is answered, and its answer noted, before anyone else tries": lambda t: 2 * t.webhook < t.webhook_lease,
    "checkpoints keep their distance": lambda t: t.trainer.checkpoint_gap < t.trainer.checkpoint_every,
}
