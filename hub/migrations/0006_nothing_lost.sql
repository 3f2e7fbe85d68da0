-- Terminals prove who they are in every message, ask for their certificates, and renew them.

alter table terminals
    -- Their key: an uncompressed P-256 point. What goes up is signed with it.
    add public_key bytea check (length(public_key) = 65),
    -- A certificate that was signed to follow, until the terminal comes with it.
    add renewed_sha256 bytea,
    add renewed_expires_at timestamptz,
    -- As it was handed out: who asks again before coming with it gets the same.
    add renewed text,
    -- What its last heartbeat wants somebody to know; empty: all is well.
    add alarm text not null default '';

-- Who asks to become a terminal. Somebody who stands before it reads its code and says that it may.
create table claims (
    device text primary key check (device ~ '^[0-9a-f]{32}$'),
    request text not null check (length(request) <= 4096),
    code_sha256 bytea not null,
    state text not null default 'pending' check (state in ('pending', 'accepted', 'rejected')),
    -- Wrong codes that were given for it.
    attempts integer not null default 0,
    address text not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    -- The answer, once it is accepted.
    certificate text
);

-- What terminals shall do, once. Kept until they have said that it is done.
create table commands (
    id uuid primary key,
    device text not null references terminals (device),
    kind text not null check (kind in ('identify', 'resync')),
    asked_by text not null,
    asked_at timestamptz not null default now(),
    expires_at timestamptz not null,
    done_at timestamptz
);
create index commands_waiting on commands (device) where done_at is null;

-- For each start of a terminal: the wall clock when its monotonic clock was at zero, in
-- microseconds since 1970. By the terminal's own clock, where it was set; else the least of what the
-- hub's clock said when messages arrived; else what somebody said.
create table anchors (
    device text not null references terminals (device),
    boot text not null check (length(boot) between 1 and 64),
    start_us bigint not null,
    source text not null check (source in ('terminal', 'hub', 'person')),
    primary key (device, boot)
);

-- Punches of a start that nobody knows the time of. They are placed when an anchor is known, or by
-- somebody; never thrown away.
create table unplaced (
    id uuid primary key,
    device text not null references terminals (device),
    epoch bigint not null,
    seq bigint not null,
    person uuid not null references people (id),
    boot text not null,
    monotonic_us bigint not null,
    -- What the clock that was never set said.
    claimed_us bigint not null,
    direction text not null check (direction in ('in', 'out', 'unknown')),
    distance real not null,
    hash bytea not null,
    received_at timestamptz not null,
    placed_at timestamptz,
    unique (device, epoch, seq)
);
create index unplaced_waiting on unplaced (device, boot) where placed_at is null;
