-- The line: people and their templates, terminals and their punches, accounts and the audit.
-- Instants are timestamptz. Numbers of 64 bits that a terminal draws (epochs) stay below 2^63.

create table people (
    id uuid primary key,
    number text not null unique check (number ~ '^[^\s].{0,63}$'),
    name text not null check (length(name) between 1 and 200),
    created_at timestamptz not null default now()
);

-- Consent to the use of a person's face. Without a current one there is no template.
create table consents (
    id bigint generated always as identity primary key,
    person uuid not null references people (id),
    given_at timestamptz not null default now(),
    recorded_by text not null,
    withdrawn_at timestamptz
);
create unique index consents_current on consents (person) where withdrawn_at is null;

-- One row a photo, sealed: nonce and AES-256-GCM ciphertext, bound to the person, this row, the
-- embedder and the key.
create table templates (
    id uuid primary key,
    person uuid not null references people (id),
    embedder text not null,
    key_id text not null,
    sealed bytea not null,
    created_at timestamptz not null default now()
);
create index templates_person on templates (person);

-- What terminals must know: the latest change of each person. A person without templates is to be
-- forgotten. Versions are given out under a lock, so that they are committed in their order.
create sequence roster_version;
create table roster (
    person uuid primary key references people (id),
    version bigint not null unique
);

create table terminals (
    device text primary key check (device ~ '^[0-9a-f]{32}$'),
    name text not null check (length(name) between 1 and 200),
    state text not null check (state in ('accepted', 'revoked')),
    certificate_sha256 bytea not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    seen_at timestamptz,
    software text,
    queued bigint,
    roster bigint
);

-- A terminal's store, and up to where its punches have arrived without a gap.
create table streams (
    device text not null references terminals (device),
    epoch bigint not null,
    watermark bigint not null default 0,
    primary key (device, epoch)
);

-- What terminals saw. Never changed, never deleted.
create table punches (
    id uuid primary key,
    device text not null references terminals (device),
    epoch bigint not null,
    seq bigint not null,
    person uuid not null references people (id),
    at timestamptz not null,
    clock text not null check (clock in ('synchronised', 'estimated')),
    direction text not null check (direction in ('in', 'out', 'unknown')),
    distance real not null,
    hash bytea not null,
    received_at timestamptz not null default now(),
    unique (device, epoch, seq)
);
create index punches_at on punches (at);
create index punches_person on punches (person, at);

-- Punches that can't stand in a timesheet, with the reason: acknowledged, never thrown away.
create table dead_letters (
    device text not null references terminals (device),
    epoch bigint not null,
    seq bigint not null,
    hash bytea not null,
    punch bytea not null,
    reason text not null,
    received_at timestamptz not null default now(),
    primary key (device, epoch, seq)
);

-- A number that arrived twice with different contents: somebody must look.
create table quarantine (
    id bigint generated always as identity primary key,
    device text not null references terminals (device),
    epoch bigint not null,
    seq bigint not null,
    hash bytea not null,
    punch bytea not null,
    received_at timestamptz not null default now(),
    unique (device, epoch, seq, hash)
);

-- All that is known of unknown faces: how many, by the hour and the run of the terminal's daemon.
create table stranger_hours (
    device text not null references terminals (device),
    run uuid not null,
    hour timestamptz not null,
    count integer not null check (count >= 0),
    primary key (device, run, hour)
);

create table accounts (
    name text primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    password_hash text not null,
    role text not null check (role in ('admin', 'hr')),
    created_at timestamptz not null default now()
);

create table sessions (
    token_hash bytea primary key,
    account text not null references accounts (name) on delete cascade,
    expires_at timestamptz not null
);

-- Who did and who looked at what. Never changed.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    actor text not null,
    action text not null,
    subject text not null,
    detail jsonb not null default '{}'
);
create index audit_at on audit (at);
