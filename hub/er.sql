-- The schema as a Mermaid entity-relationship diagram. hub/prepare.sh writes it into docs/develop/database.md.
with
tables as (
    select c.oid, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname not like '\_%'
),
keys as (
    select k.conrelid, k.contype, unnest(k.conkey) as attnum from pg_constraint k
    where k.contype in ('p', 'f')
),
columns as (
    select t.name as tab, a.attnum,
        replace(replace(format_type(a.atttypid, null), ' ', '_'), '[]', '_array') as kind, a.attname as name,
        (select string_agg(case kind when 'p' then 'PK' else 'FK' end, ', ' order by kind desc)
            from (select distinct k.contype::text as kind from keys k where k.conrelid = t.oid and k.attnum = a.attnum) k) as key
    from tables t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
),
lines as (
    select 0 as part, '' as tab, 0 as pos, 'erDiagram' as line
    union all
    select 1, t.name, 0, format('    %s {', t.name) from tables t
    union all
    select 1, c.tab, c.attnum, format('        %s %s%s', c.kind, c.name, coalesce(' ' || c.key, '')) from columns c
    union all
    select 1, t.name, 10000, '    }' from tables t
    union all
    select 2, p.name || c.name, row_number() over (order by p.name, c.name, k.conname),
        format('    %s ||--o{ %s : "%s"', p.name, c.name,
            (select string_agg(a.attname, ', ' order by a.attnum) from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any(k.conkey)))
    from pg_constraint k join tables c on c.oid = k.conrelid join tables p on p.oid = k.confrelid
    where k.contype = 'f'
)
select line from lines order by part, tab, pos;
