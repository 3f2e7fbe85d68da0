-- Nobody is absent from a shift before it is due, and no absence is final while a terminal may still undo it.
-- Both are derived whenever somebody reads, and stand here, once.

alter table workdays
    -- Up to this instant (when they are due, and the grace) nobody is absent from the shift. Null without a
    -- shift, and of days that were computed before there was this column: of those the shift's start counts.
    add due_at timestamptz;

-- The accepted terminals, and how far each has been heard: of every window that closed up to there it has said
-- what it saw, the window's last second included, or it was not there yet.
create view heard as
    select device, name, site, reported_through,
        greatest(created_at, reported_through - interval '1 second') as through
    from terminals where state = 'accepted';

-- Workdays as they are to be shown at an instant. PostgreSQL puts such a function in the place where it is
-- called, so that it costs no more than a view.
create function workdays_at(moment timestamptz)
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
        -- Whether punches of the day may still arrive, and nobody has said that it is final.
        cross join lateral (select w.finalised_at is null
            and coalesce(w.closes_at > least($1, h.through), false)) a (awaited)
$$;
