-- What each key has been given of a minute's records, over all replicas.
CREATE TABLE quota_use (
    key_id text        PRIMARY KEY REFERENCES api_key ON DELETE CASCADE,
    minute timestamptz NOT NULL,
    used   integer     NOT NULL CHECK (used >= 0)
) WITH (fillfactor = 50); -- updated all the time: room for new versions on the same page

-- Gives at least `needed` records of the present minute, and up to `chunk` at once so that few requests have to ask;
-- or none where fewer are left. Also says how many are left then, and for how long the minute lasts.
CREATE FUNCTION reserve_quota(
    wanted_key text, needed integer, chunk integer, quota integer,
    OUT granted integer, OUT remaining integer, OUT milliseconds integer
) LANGUAGE plpgsql AS $$
DECLARE
    old_minute timestamptz;
    old_used integer;
    this_minute timestamptz;
BEGIN
    INSERT INTO quota_use (key_id, minute, used) VALUES (wanted_key, '-infinity', 0) ON CONFLICT DO NOTHING;
    SELECT minute, used INTO old_minute, old_used FROM quota_use WHERE key_id = wanted_key FOR UPDATE;
    -- The time is read under the lock: who waited for it may be in another minute than when it asked. A clock that is
    -- set back does not open a minute anew.
    this_minute := greatest(old_minute, date_trunc('minute', clock_timestamp()));
    IF old_minute < this_minute THEN
        old_used := 0;
    END IF;
    remaining := greatest(quota - old_used, 0);
    granted := CASE WHEN needed > remaining THEN 0 ELSE least(greatest(needed, chunk), remaining) END;
    IF granted > 0 THEN
        UPDATE quota_use SET minute = this_minute, used = old_used + granted WHERE key_id = wanted_key;
    END IF;
    remaining := remaining - granted;
    milliseconds := floor(extract(epoch FROM this_minute + interval '1 minute' - clock_timestamp()) * 1000);
END
$$;
