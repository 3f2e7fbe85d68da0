-- One day off a person and date, in a form that PostgreSQL 14 knows, too; shifts are numbered from 1.
create unique index single_days_day on single_days (person, date, coalesce(shift, 0));
alter table single_days drop constraint if exists single_days_person_date_shift_key;
