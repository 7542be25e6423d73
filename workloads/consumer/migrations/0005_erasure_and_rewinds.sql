-- Users whose records were erased: what was received before is not stored again, whatever is read once more. By a
-- hash of tenant and user, so that the table itself does not name them.
CREATE TABLE erased_users (
    user_hash bytea       PRIMARY KEY,
    erased_at timestamptz NOT NULL
);

-- Who moved the ledger back, and how far.
CREATE TABLE rewinds (
    at          timestamptz NOT NULL DEFAULT now(),
    cluster_id  text        NOT NULL,
    group_id    text        NOT NULL,
    topic_id    uuid        NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    from_offset bigint      NOT NULL,
    to_offset   bigint      NOT NULL,
    -- The moment that was asked for.
    to_time     timestamptz NOT NULL,
    -- Who asked: the name of the pod, or of the machine.
    by_host     text        NOT NULL
);
CREATE INDEX rewinds_at ON rewinds (at);

-- Drops the months of a partitioned table that end at or before `limit_month`, and what its default partition holds of
-- them. Answers the names of the dropped tables.
CREATE FUNCTION drop_months(parent text, limit_month date) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    schema_name text := current_schema();
    limit_time  timestamptz := date_trunc('month', limit_month::timestamp) AT TIME ZONE 'UTC';
    child       text;
BEGIN
    FOR child IN
        SELECT c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = format('%I.%I', schema_name, parent)::regclass
          AND c.relname ~ ('^' || parent || '_[0-9]{4}_[0-9]{2}$')
          AND to_date(right(c.relname, 7), 'YYYY_MM') < date_trunc('month', limit_month::timestamp)
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I.%I', schema_name, child);
        RETURN NEXT child;
    END LOOP;
    EXECUTE format('DELETE FROM %I.%I WHERE event_time < %L', schema_name, parent || '_default', limit_time);
END
$$;
