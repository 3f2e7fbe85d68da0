-- Whoever's employment has ended has no session and is in no terminal's gallery.

-- Whether an employment with such a last day has ended at an instant, by the calendar of a zone.
create function employment_over(last_day date, zone text, at timestamptz) returns boolean language sql stable as $$
    select coalesce(last_day < (at at time zone zone)::date, false)
$$;

-- The same of a person, by their site.
create function employment_ended(who uuid, at timestamptz) returns boolean language sql stable as $$
    select employment_over(p.employed_to, s.zone, at) from people p join sites s on s.id = p.site where p.id = who
$$;

-- Whether this version told terminals to forget the person because their employment has ended.
alter table roster add column ended boolean not null default false;
