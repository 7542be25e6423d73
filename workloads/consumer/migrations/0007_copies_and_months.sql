-- Schemas that `consumer rewind --into` filled from Kafka: users are erased of them, too.
CREATE TABLE schema_copies (
    schema_name text        PRIMARY KEY,
    since       timestamptz NOT NULL DEFAULT now()
);

-- Months are created and dropped while everybody writes, so whatever needs the whole table to itself takes a moment only:
-- it waits for its lock for two seconds at most, which is as long as the others then wait for it, and touches a bounded
-- number of rows. Who calls these functions calls again for the rest.

-- What a phone sends at first is its history: years, of which there are no months. To attach a month PostgreSQL reads all
-- of the default partition. So what is older than the first month is kept apart, in a partition that is never read for
-- that, and the default partition is left with what clocks that are wrong date ahead.
SET LOCAL lock_timeout = '2s';
LOCK TABLE ONLY sms, ONLY events, ONLY call_logs IN ACCESS EXCLUSIVE MODE;
CREATE INDEX sms_default_event_time ON sms_default (event_time);
CREATE INDEX events_default_event_time ON events_default (event_time);
CREATE INDEX call_logs_default_event_time ON call_logs_default (event_time);

-- The months of a partitioned table and where they end. One that is being created ends where its rows end that were
-- moved so far.
CREATE FUNCTION months_of(parent text) RETURNS TABLE (child text, first_moment timestamptz, after_last timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT c.relname::text,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$FROM \('([^']*)'\)$re$)::timestamptz,
           substring(pg_get_expr(c.relpartbound, c.oid) FROM $re$TO \('([^']*)'\)$re$)::timestamptz
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = format('%I.%I', current_schema(), parent)::regclass
      AND c.relname ~ ('^' || parent || '_[0-9]{4}_[0-9]{2}$')
    ORDER BY c.relname
$$;

-- Makes a partition of what is older than the first month there is, or is to be. Answers whether it was missing.
CREATE FUNCTION keep_past_apart(parent text, first_month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    schema_name  text := current_schema();
    past         text := parent || '_past';
    rest         text := parent || '_default';
    first_moment timestamptz;
    index_name   text;
BEGIN
    IF to_regclass(format('%I.%I', schema_name, past)) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', schema_name, parent);
    -- Only after a lock does a session see for certain what others have created.
    IF to_regclass(format('%I.%I', schema_name, past)) IS NOT NULL THEN
        RETURN false;
    END IF;
    SELECT coalesce(min(m.first_moment), date_trunc('month', first_month::timestamp) AT TIME ZONE 'UTC')
    INTO first_moment FROM months_of(parent) m;
    -- The default partition becomes that of the past, because nearly all of its rows are.
    EXECUTE format('ALTER TABLE %I.%I DETACH PARTITION %I.%I', schema_name, parent, schema_name, rest);
    EXECUTE format('ALTER TABLE %I.%I RENAME TO %I', schema_name, rest, past);
    FOR index_name IN
        SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = format('%I.%I', schema_name, past)::regclass
    LOOP
        EXECUTE format('ALTER INDEX %I.%I RENAME TO %I', schema_name, index_name, replace(index_name, rest, past));
    END LOOP;
    EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.%I DEFAULT', schema_name, rest, schema_name, parent);
    EXECUTE format('CREATE INDEX %I ON %I.%I (event_time)', rest || '_event_time', schema_name, rest);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I.%I WHERE event_time >= %L RETURNING *) INSERT INTO %I.%I SELECT * FROM moved',
        schema_name, past, first_moment, schema_name, rest);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (MINVALUE) TO (%L)',
        schema_name, parent, schema_name, past, first_moment);
    RETURN true;
END
$$;

-- Creates one month of a partitioned table, and moves there what the default partition holds of it, no more than
-- `most_rows` at once: then the month ends where it has come to, until it is called again. Answers whether there was
-- anything to do, so there may be more. Safe when many readers call it at once; no row is ever out of sight.
DROP FUNCTION create_month(text, date);
CREATE FUNCTION create_month(parent text, month date, most_rows integer DEFAULT 10000) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    schema_name  text := current_schema();
    month_table  text := parent || '_' || to_char(month, 'YYYY_MM');
    rest         text := parent || '_default';
    first_moment timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    after_last   timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
    reached      timestamptz;
    next_reached timestamptz;
BEGIN
    SELECT m.after_last INTO reached FROM months_of(parent) m WHERE m.child = month_table;
    IF reached >= after_last THEN
        RETURN false;
    END IF;
    PERFORM set_config('lock_timeout', '2s', true);
    -- No new rows of this month may reach the default partition while its old ones are moved. It also makes those
    -- wait who come second, and only after a lock does a session see for certain what others have created.
    EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', schema_name, parent);
    SELECT m.after_last INTO reached FROM months_of(parent) m WHERE m.child = month_table;
    IF reached >= after_last THEN
        RETURN false;
    END IF;
    IF reached IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %I.%I DETACH PARTITION %I.%I', schema_name, parent, schema_name, month_table);
    ELSIF to_regclass(format('%I.%I', schema_name, month_table)) IS NULL THEN
        reached := first_moment;
        EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
            schema_name, month_table, schema_name, parent);
    ELSE
        -- Somebody has taken it out of the table.
        RETURN false;
    END IF;
    -- Later than what is reached, also where more rows than that are of one moment.
    EXECUTE format(
        'SELECT event_time FROM %I.%I WHERE event_time > %L AND event_time < %L ORDER BY event_time OFFSET %s LIMIT 1',
        schema_name, rest, reached, after_last, most_rows) INTO next_reached;
    next_reached := coalesce(next_reached, after_last);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I.%I WHERE event_time >= %L AND event_time < %L RETURNING *) '
        'INSERT INTO %I.%I SELECT * FROM moved',
        schema_name, rest, reached, next_reached, schema_name, month_table);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
        schema_name, parent, schema_name, month_table, first_moment, next_reached);
    RETURN true;
END
$$;

-- Drops the oldest month of a partitioned table that ends at or before `limit_month`, and answers its name; nothing
-- where there is none.
CREATE OR REPLACE FUNCTION drop_months(parent text, limit_month date) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    schema_name text := current_schema();
    limit_time  timestamptz := date_trunc('month', limit_month::timestamp) AT TIME ZONE 'UTC';
    child       text;
BEGIN
    SELECT m.child INTO child FROM months_of(parent) m WHERE m.after_last <= limit_time LIMIT 1;
    IF child IS NOT NULL THEN
        PERFORM set_config('lock_timeout', '2s', true);
        EXECUTE format('DROP TABLE IF EXISTS %I.%I', schema_name, child);
        RETURN NEXT child;
    END IF;
END
$$;

-- Deletes rows before `limit_month` of which there is no month to drop, no more than `most_rows` of a partition at once.
-- Answers how many that were; nobody waits for it, nor it for anybody.
CREATE FUNCTION delete_before(parent text, limit_month date, most_rows integer DEFAULT 10000) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    schema_name text := current_schema();
    limit_time  timestamptz := date_trunc('month', limit_month::timestamp) AT TIME ZONE 'UTC';
    child       text;
    deleted     bigint;
    all_deleted bigint := 0;
BEGIN
    FOREACH child IN ARRAY ARRAY[parent || '_past', parent || '_default'] LOOP
        CONTINUE WHEN to_regclass(format('%I.%I', schema_name, child)) IS NULL;
        EXECUTE format(
            'DELETE FROM %1$I.%2$I WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$I.%2$I WHERE event_time < %3$L '
            'ORDER BY event_time LIMIT %4$s FOR UPDATE SKIP LOCKED))',
            schema_name, child, limit_time, most_rows);
        GET DIAGNOSTICS deleted = ROW_COUNT;
        all_deleted := all_deleted + deleted;
    END LOOP;
    RETURN all_deleted;
END
$$;

-- Of a table that has months already: this reads its default partition once. The others follow when they get months.
SELECT keep_past_apart(parent, current_date)
FROM unnest(ARRAY['sms', 'events', 'call_logs']) AS tables (parent)
WHERE EXISTS (SELECT FROM months_of(parent));
