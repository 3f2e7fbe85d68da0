-- A person as the API shows them, to be written many at once.
create type person as (id uuid, number text, name text, consent boolean, photos bigint, site text, department text,
    manager text, email text, language text, employed_from date, employed_to date, muted text[], manager_id uuid,
    zone text);
