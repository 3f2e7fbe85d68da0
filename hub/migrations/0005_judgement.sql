-- Who belonged to the site of a period when it was locked: whoever moves takes no locked day along.
create table period_people (
    period bigint not null references periods (id),
    person uuid not null references people (id),
    primary key (period, person)
);
insert into period_people select d.id, p.id from periods d join people p on p.site = d.site where d.state = 'locked';

alter table corrections
    -- Who asked, with whatever account.
    add requested_person uuid references people (id),
    -- An approved correction that shall count no longer.
    add revokes bigint references corrections (id);
update corrections c set requested_person = a.person from accounts a where a.name = c.requested_by;
create unique index corrections_revoked on corrections (revokes) where state = 'approved';

create index adjustments_day on adjustments (person, date);
