-- Schemas that `consumer rewind --into` filled from Kafka: users are erased of them, too.
CREATE TABLE schema_copies (
    schema_name text        PRIMARY KEY,
    since       timestamptz NOT NULL DEFAULT now()
);
