-- Rules that stood in several queries, once each; and local times.

-- An instant with the zone in which it is to be shown.
create type zoned as (at timestamptz, zone text);
create function zoned(at timestamptz, zone text) returns zoned language sql immutable parallel safe as $$
    select case when $1 is not null then row($1, $2)::zoned end
$$;

-- Whether punches of a window that closes at some time may still arrive, for terminals have not reported past it.
create function unreported(closes timestamptz, through timestamptz, moment timestamptz) returns boolean
    language sql immutable parallel safe as $$
    select coalesce($1 > least($3, $2), false)
$$;

-- As before, with the function above.
create or replace function workdays_at(moment timestamptz)
    returns table (person uuid, date date, shift text, judged text, status text, first_in timestamptz,
        last_out timestamptz, worked_s integer, expected_s integer, late_s integer, early_s integer,
        overtime_s integer, balance_s integer, flags text[], starts_at timestamptz, closes_at timestamptz,
        revision integer, computed_at timestamptz, finalised_by text, finalised_at timestamptz, awaited boolean,
        provisional boolean)
    language sql stable parallel safe as $$
    select w.person, w.date, w.shift, w.status,
        case when e.expected then 'expected' else w.status end,
        w.first_in, w.last_out, w.worked_s, w.expected_s, w.late_s, w.early_s, w.overtime_s,
        case when e.expected then null else w.balance_s end,
        w.flags, w.starts_at, w.closes_at, w.revision, w.computed_at, w.finalised_by, w.finalised_at,
        a.awaited,
        w.status = 'absent' and a.awaited
    from workdays w join people p on p.id = w.person
        left join (select site, min(through) as through from heard group by site) h on h.site = p.site
        cross join lateral (select w.status = 'absent' and $1 <= coalesce(w.due_at, w.starts_at)) e (expected)
        cross join lateral (select w.finalised_at is null and unreported(w.closes_at, h.through, $1)) a (awaited)
$$;

-- A workday as it is computed, to be written many at once.
create type workday as (person uuid, date date, shift text, status text, first_in timestamptz, last_out timestamptz,
    worked_s integer, expected_s integer, late_s integer, early_s integer, overtime_s integer, balance_s integer,
    flags text[], starts_at timestamptz, closes_at timestamptz, due_at timestamptz);
