-- Sources whose records replace older versions of themselves: one row a record, the newest by event_time, then by
-- received_at.
CREATE TABLE apps_and_device (
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
    kind        text        NOT NULL,
    name        text        NOT NULL,
    version     text,
    raw         jsonb       NOT NULL,
    PRIMARY KEY (user_id, record_id)
);

CREATE TABLE contacts (
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
    phones      text[]      NOT NULL,
    raw         jsonb       NOT NULL,
    PRIMARY KEY (user_id, record_id)
);
