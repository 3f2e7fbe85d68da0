-- Whether somebody has been told of a workday is asked for each that closes.
create index outbox_person on outbox (person);
