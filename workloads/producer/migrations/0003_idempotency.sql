-- Answers that are kept for repeats of their requests.
CREATE TABLE idempotent_request (
    client        text        NOT NULL,
    key           text        NOT NULL,
    -- Of what was asked: a repeat asks the same.
    fingerprint   bytea       NOT NULL CHECK (octet_length(fingerprint) = 32),
    -- Who works on it, and until when nobody else does.
    claim         uuid        NOT NULL,
    claimed_until timestamptz NOT NULL,
    -- Both are null until there is an answer.
    status        smallint,
    answer        bytea,
    expires_at    timestamptz NOT NULL,
    PRIMARY KEY (client, key),
    CHECK ((status IS NULL) = (answer IS NULL))
);

CREATE INDEX idempotent_request_expires_at ON idempotent_request (expires_at);
