-- Whoever's employment has ended has no session and is in no terminal's gallery.

-- Whether a person's employment has ended at an instant, by the calendar of their site.
create function employment_ended(who uuid, at timestamptz) returns boolean language sql stable as $$
    select coalesce(p.employed_to < (at at time zone s.zone)::date, false)
    from people p join sites s on s.id = p.site where p.id = who
$$;

-- Whether this version told terminals to forget the person because their employment has ended.
alter table roster add column ended boolean not null default false;
