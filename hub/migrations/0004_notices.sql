-- Who has been told: nothing is told from before there was anybody to tell, and what was dropped
-- only because it was so no longer can be told later.

-- Absences and missing punches of earlier dates are old news. One row, written when somebody first
-- listens to them.
create table notices (from_date date not null);
create unique index notices_one on notices ((true));

alter table outbox
    -- Dropped because it was so no longer: nobody was told, and should it be so again, somebody is.
    add moot boolean not null default false,
    -- Since when the server has put off this very message.
    add refused_at timestamptz,
    add check (state = 'dropped' or not moot);
update outbox set moot = true where state = 'dropped' and error = 'it is so no longer';

-- Whether somebody has been told of a workday is asked for each that closes, again and again.
drop index outbox_person;
create index outbox_day on outbox (person, kind, (detail->>'date'));

-- In the order in which messages are taken.
drop index outbox_due;
create index outbox_due on outbox (channel, (attempts > 3), next_at, id) where state = 'pending';

-- Of all workdays only few are anything to tell of.
create index workdays_amiss on workdays (date) where status = 'absent' or 'missing_out' = any(flags);
