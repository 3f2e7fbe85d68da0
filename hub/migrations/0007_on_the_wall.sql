-- Terminals say more of themselves (null: not yet), and do more.
alter table terminals add column health jsonb;

alter table commands drop constraint commands_kind_check,
    add constraint commands_kind_check check (kind in ('identify', 'resync', 'open', 'restart'));
