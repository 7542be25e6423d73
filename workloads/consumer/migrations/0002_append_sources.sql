-- Sources whose records are facts of their own. Partitioned by month of the event; the consumer creates the months
-- around the present, and the default partition takes what a device dates elsewhere.
--
-- The user comes first in the key although the record id follows from it: what is written together is of few users, and
-- so touches few pages of the index, where ids alone would be spread over all of it. The order of bytes is enough for
-- that, and the fastest.
CREATE TABLE sms (
    record_id   uuid        NOT NULL,
    event_time  timestamptz NOT NULL,
    tenant      text        NOT NULL,
    user_id     text        COLLATE "C" NOT NULL,
    device_id   text        NOT NULL,
    batch_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    topic_id    uuid        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    index       integer     NOT NULL,
    sender      text        NOT NULL,
    body        text        NOT NULL,
    raw         jsonb       NOT NULL,
    PRIMARY KEY (user_id, record_id, event_time)
) PARTITION BY RANGE (event_time);
CREATE TABLE sms_default PARTITION OF sms DEFAULT;

CREATE TABLE events (
    record_id   uuid        NOT NULL,
    event_time  timestamptz NOT NULL,
    tenant      text        NOT NULL,
    user_id     text        COLLATE "C" NOT NULL,
    device_id   text        NOT NULL,
    batch_id    uuid        NOT NULL,
    received_at timestamptz NOT NULL,
    stored_at   timestamptz NOT NULL DEFAULT now(),
    topic_id    uuid        NOT NULL,
    partition   integer     NOT NULL,
    "offset"    bigint      NOT NULL,
    index       integer     NOT NULL,
    name        text        NOT NULL,
    raw         jsonb       NOT NULL,
    PRIMARY KEY (user_id, record_id, event_time)
) PARTITION BY RANGE (event_time);
CREATE TABLE events_default PARTITION OF events DEFAULT;

CREATE TABLE call_logs (
    record_id        uuid        NOT NULL,
    event_time       timestamptz NOT NULL,
    tenant           text        NOT NULL,
    user_id          text        COLLATE "C" NOT NULL,
    device_id        text        NOT NULL,
    batch_id         uuid        NOT NULL,
    received_at      timestamptz NOT NULL,
    stored_at        timestamptz NOT NULL DEFAULT now(),
    topic_id         uuid        NOT NULL,
    partition        integer     NOT NULL,
    "offset"         bigint      NOT NULL,
    index            integer     NOT NULL,
    number           text        NOT NULL,
    direction        text        NOT NULL,
    duration_seconds bigint      NOT NULL,
    raw              jsonb       NOT NULL,
    PRIMARY KEY (user_id, record_id, event_time)
) PARTITION BY RANGE (event_time);
CREATE TABLE call_logs_default PARTITION OF call_logs DEFAULT;

-- Creates one month of a partitioned table, and moves there what the default partition holds of it.
-- Answers whether it was missing. Safe when many readers call it at once.
CREATE FUNCTION create_month(parent text, month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    schema_name  text := current_schema();
    child        text := parent || '_' || to_char(month, 'YYYY_MM');
    first_moment timestamptz := date_trunc('month', month::timestamp) AT TIME ZONE 'UTC';
    after_last   timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(format('%I.%I', schema_name, child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- No new rows of this month may reach the default partition while its old ones are moved. It also makes those
    -- wait who come second, and only after a lock does a session see for certain what others have created.
    EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', schema_name, parent);
    IF to_regclass(format('%I.%I', schema_name, child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        schema_name, child, schema_name, parent);
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I.%I WHERE event_time >= %L AND event_time < %L RETURNING *) '
        'INSERT INTO %I.%I SELECT * FROM moved',
        schema_name, parent || '_default', first_moment, after_last, schema_name, child);
    EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)',
        schema_name, parent, schema_name, child, first_moment, after_last);
    RETURN true;
END
$$;
