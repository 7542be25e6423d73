-- What became of everything that was accepted, kept in the transaction that stores it.
--
-- For each partition and group: next_offset = first_offset + messages + expired + absent - moved_back, summed over the
-- hours; and records = stored + duplicate + dead_lettered + erased.
ALTER TABLE ledger
    -- Where reading began.
    ADD COLUMN first_offset bigint  NOT NULL DEFAULT 0,
    -- Offsets read once more, after a rewind or because the log was cut.
    ADD COLUMN moved_back   bigint  NOT NULL DEFAULT 0,
    -- Whether the records are in MongoDB, too, before this row moves.
    ADD COLUMN mongodb      boolean NOT NULL DEFAULT false;

CREATE TABLE tallies (
    cluster_id    text        NOT NULL,
    topic_id      uuid        NOT NULL,
    topic         text        NOT NULL,
    partition     integer     NOT NULL,
    group_id      text        NOT NULL,
    -- In which the producer took the upload.
    hour          timestamptz NOT NULL,
    messages      bigint      NOT NULL,
    -- Messages that Kafka had deleted before they were read.
    expired       bigint      NOT NULL,
    -- Offsets without a message: markers of transactions, and what compaction removed.
    absent        bigint      NOT NULL,
    records       bigint      NOT NULL,
    stored        bigint      NOT NULL,
    duplicate     bigint      NOT NULL,
    dead_lettered bigint      NOT NULL,
    erased        bigint      NOT NULL,
    PRIMARY KEY (cluster_id, topic_id, partition, group_id, hour)
) WITH (fillfactor = 50); -- updated all the time: room for new versions on the same page

-- What lies in the dead-letter topics, without its content.
CREATE TABLE dead_letters (
    topic_id  uuid        NOT NULL,
    partition integer     NOT NULL,
    "offset"  bigint      NOT NULL,
    -- Place of the record in its message; -1 for the whole message.
    index     integer     NOT NULL,
    class     text        NOT NULL,
    error     text        NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic_id, partition, "offset", index)
);

-- Which rows a message brought. Offsets grow with time, so that few blocks hold those of one: an index that costs
-- next to nothing to keep.
CREATE INDEX sms_offset ON sms USING brin ("offset") WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX events_offset ON events USING brin ("offset") WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX call_logs_offset ON call_logs USING brin ("offset") WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX apps_and_device_offset ON apps_and_device USING brin ("offset") WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX contacts_offset ON contacts USING brin ("offset") WITH (pages_per_range = 16, autosummarize = on);
