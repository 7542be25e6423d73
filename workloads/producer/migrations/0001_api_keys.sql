-- Who may upload. The secret itself is nowhere: a key that is lost is replaced.
CREATE TABLE api_key (
    id          text        PRIMARY KEY,
    secret_hash bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    client      text        NOT NULL CHECK (client <> ''),
    tenant      text        CHECK (tenant <> ''),
    -- Records a minute; no limit where it is null.
    quota       integer     CHECK (quota > 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz
);
