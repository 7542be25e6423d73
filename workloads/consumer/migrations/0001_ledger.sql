-- Consumed offsets. A row moves in the transaction that stores the records it stands for, and only from the value
-- that the reader expects: a reader that lost its partition finds another value and stores nothing.
CREATE TABLE ledger (
    cluster_id  text        NOT NULL,
    topic_id    uuid        NOT NULL,
    topic       text        NOT NULL,
    partition   integer     NOT NULL,
    group_id    text        NOT NULL,
    next_offset bigint      NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, topic_id, partition, group_id)
) WITH (fillfactor = 50); -- updated all the time: room for new versions on the same page
