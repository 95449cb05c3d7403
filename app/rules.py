"""The numbers the service lives by, each with its reason. Times are in seconds of the service's own pace (the clock
divides them by DARKROOM_TIME_FACTOR in sandbox time); ages of signatures are never scaled. Settings may override
some."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    # The webhook door (promises D19)
    webhook_max_bytes: int = 1_000_000
    """fal keeps results over 1 MB out of payload storage; a completion is a few KB."""
    webhook_max_age: float = 300.0
    """fal's own tolerance, plus and minus (fal.md 2.3). Never scaled."""
    keys_max_age: float = 24 * 3600.0
    """fal's key set may be cached for a day (fal.md 2.3)."""
    keys_refresh_every: float = 60.0
    """An unknown signature may cause one look for new keys a minute, no more. Never scaled."""
    keys_within: float = 8.0
    """fal waits 15 s for us; without its keys it gets a 503 in time, and comes again."""
    refusals_kept: int = 500
    """Refused deliveries kept, cut short, for a person to look at."""
    refusals_a_minute: int = 20
    """Of each verdict, in each process: a flood must not become as many writes."""

    # Reconciling (promises D5, D6)
    look_soonest: float = 15.0
    look_latest: float = 60.0
    """Between looks at a job whose webhook has not come: from 15 s rising to 60 s, inside fal's 6 minutes of
    retention."""
    laptop_soonest: float = 1.0
    laptop_latest: float = 10.0
    """Without webhooks the looks are all there is."""
    grace_least: float = 600.0
    """A new POST for a request of unknown fate waits at least this long (promises section 2: 60 s bought 3.6 %
    twice)."""
    missing_believed_after: int = 3
    """fal says so often that it does not know a request of ours before we believe it: one 404 may be a gateway's, and
    the picture is paid for."""
    watched_for: float = 60.0
    """A stream or a snapshot makes a job watched for this long; watched jobs get progress."""
    silent_after: int = 3
    """So many completions in a row found by looking, with webhooks registered: webhooks are silent, say so."""

    # Jobs
    max_attempts: int = 3
    start_timeout: float = 600.0
    """fal gives up on a request it could not begin within this; it bounds how long one of unknown fate can hide."""
    deadline: float = 6 * 3600.0
    """An accepted job ends within this, whatever fal's queue does."""
    submit_backoff_latest: float = 300.0
    breaker_opens_after: int = 5
    """So many gateway rejections in a row (401, 403, 429) pause dispatch and tell the operator."""
    breaker_pause: float = 30.0
    unreachable_after: int = 3
    """So many submissions in a row that never left, for want of a connection, and fal counts as away. Each of them has
    tried several times already."""

    # Transfers
    result_max_bytes: int = 200_000_000
    result_max_pixels: int = 140_000_000
    """A picture of 4K upscaled twice still fits."""
    upload_max_bytes: int = 25_000_000
    upload_max_pixels: int = 40_000_000
    uploads_per_request: int = 20
    transfer_tries: int = 8
    """So many answers that say no, and the job fails and says so: a failed transfer never buys a new generation. While
    nobody answers, it is time that counts."""
    files_fetched_within: float = 12 * 3600.0
    """While fal does not give the files of a picture that is paid for, its job waits this long: twice as long as for
    the picture itself, but no longer, since somebody waits and credits are held."""
    files_kept: float = 3 * 86400.0
    """fal is asked to keep a result's files for so long (by itself it may keep them for a week, fal.md 1.9). While our
    own storage is away, a job waits until then: its picture is paid for and still there, and a weekend is covered.
    Afterwards nothing is left to be stored."""
    url_lifetime: float = 3600.0
    """Seconds a signed address we give out works."""
    reference_lifetime: float = 3600.0
    """Beyond the job's deadline, for the addresses of references handed to fal."""
    unattached_for: float = 24 * 3600.0
    """An upload nobody used is swept after a day."""
    orphan_age: float = 24 * 3600.0
    """An object without a row is an orphan only after this long: its row may still be on the way, and a clock that
    jumps ahead by an hour must not make it look old. Never scaled."""

    # The runner (promises D10)
    lease: float = 30.0
    heartbeat: float = 10.0
    tasks_at_once: int = 64
    poll_every: float = 1.0
    """How long a task can wait when every nudge is lost."""
    deaths_allowed: int = 3
    """A task that was being worked on at three deaths of its worker is parked."""

    # Streams (promises D16)
    stream_comment_every: float = 15.0
    stream_rotate_after: float = 600.0
    stream_send_within: float = 5.0
    stream_held: int = 65_536
    """Bytes the kernel may hold for one reader (it allows itself twice as many): some hundred events."""
    stream_recheck_every: float = 60.0
    streams_per_workspace: int = 1000
    """Open at a time, in each process: one workspace's forgotten readers must not take the sockets of the others."""
    streams_open: int = 10_000
    """In all, in each process: below what the usual limits on open files and 1 GB of memory bear."""
    stream_page: int = 200
    ring: int = 2048
    """Frames kept in memory per followed workspace."""

    # Retention (design section 6)
    events_kept: float = 30 * 86400.0
    deliveries_kept: float = 30 * 86400.0
    tasks_kept: float = 7 * 86400.0
    idempotency_kept: float = 24 * 3600.0

    # This machine
    least_room: int = 200_000_000
    """Bytes free, below which `/readyz`, `dev` and the page speak up: one result may be so large, and it passes through
    the disk before it is stored. Work goes on until nothing is left, and waits then."""

    # Doors
    body_max_bytes: int = 1_000_000
    json_depth: int = 32
    drain_within: float = 15.0
