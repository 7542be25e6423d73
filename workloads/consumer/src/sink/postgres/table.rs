//! The statements of each source. Rows that are new are copied into its table; others are copied into a staging table
//! of the session and merged from there, so that what is stored already does no harm.

use contract::{Source, source::Storage};
use runtime::postgres::quoted;

/// Columns that every source has, in the order of [`super::copy`].
const COMMON: &[(&str, &str)] = &[
    ("record_id", "uuid"),
    ("event_time", "timestamptz"),
    ("tenant", "text"),
    ("user_id", "text"),
    ("device_id", "text"),
    ("batch_id", "uuid"),
    ("received_at", "timestamptz"),
    ("topic_id", "uuid"),
    ("partition", "integer"),
    ("\"offset\"", "bigint"),
    ("index", "integer"),
    ("raw", "jsonb"),
];

/// Columns of one source, in the order of [`super::copy`].
const fn own(source: Source) -> &'static [(&'static str, &'static str)] {
    match source {
        Source::Sms => &[("sender", "text"), ("body", "text")],
        Source::Events => &[("name", "text")],
        Source::AppsAndDevice => &[("kind", "text"), ("name", "text"), ("version", "text")],
        Source::Contacts => &[("name", "text"), ("phones", "text[]")],
        Source::CallLogs => &[
            ("number", "text"),
            ("direction", "text"),
            ("duration_seconds", "bigint"),
        ],
    }
}

fn columns(source: Source) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    COMMON.iter().chain(own(source))
}

fn names(source: Source) -> String {
    columns(source).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// How many columns are copied.
pub fn width(source: Source) -> i16 {
    // Less than twenty.
    columns(source).count() as i16
}

/// Creates the session's staging table. It is empty at the start of each transaction.
pub fn staging(source: Source) -> String {
    let columns: Vec<String> = columns(source).map(|(name, kind)| format!("{name} {kind}")).collect();
    format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS staged_{source} ({}) ON COMMIT DELETE ROWS;\n",
        columns.join(", ")
    )
}

/// Fills the source's table, but for rows against the condition.
pub fn copy(source: Source, condition: Option<&str>) -> String {
    let condition = condition
        .map(|condition| format!(" WHERE {condition}"))
        .unwrap_or_default();
    format!(
        "COPY {source} ({}) FROM STDIN (FORMAT binary){condition}",
        names(source)
    )
}

/// The condition under which a row meets all `CHECK` constraints of the table `$1`; what is unknown passes, as with them.
/// Null where there are none, and where a condition of COPY would not see the row as they do: before a trigger has changed
/// it, and before it has a partition.
pub const RULES: &str = "SELECT CASE WHEN count(*) FILTER (WHERE rule ~ '\\mtableoid\\M') = 0 \
                              AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgtype & 7 = 7 AND (tgrelid = $1::regclass \
                                  OR tgrelid IN (SELECT relid FROM pg_partition_tree($1::regclass)))) \
                              THEN string_agg(format('(%s) IS NOT FALSE', rule), ' AND ' ORDER BY conname) END \
                         FROM (SELECT conname, pg_get_expr(conbin, conrelid) AS rule FROM pg_constraint \
                               WHERE conrelid = $1::regclass AND contype = 'c') rules";

/// Fills the staging table.
pub fn stage(source: Source) -> String {
    format!(
        "COPY pg_temp.staged_{source} ({}) FROM STDIN (FORMAT binary)",
        names(source)
    )
}

/// Places, from 1, of those records that are stored already, whatever their time. Of users (`$1`) and record ids (`$2`).
pub fn known(source: Source) -> String {
    format!(
        "SELECT wanted.place FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS wanted (user_id, record_id, place) \
         WHERE EXISTS (SELECT FROM {source} stored \
                       WHERE stored.user_id = wanted.user_id AND stored.record_id = wanted.record_id)"
    )
}

/// Moves the staged rows into the source's table, and answers the ids of those that were new or newer. A batch holds a
/// record id once.
pub fn merge(source: Source) -> String {
    let names = names(source);
    match source.storage() {
        // The primary key holds the event time too, because the table is partitioned by it: that a record is not
        // stored again under another time is for the anti-join to see. Both readers of one partition cannot be here
        // at once, because they hold its row of the ledger.
        Storage::Append => format!(
            "INSERT INTO {source} ({names}) SELECT {names} FROM pg_temp.staged_{source} staged \
             WHERE NOT EXISTS (SELECT FROM {source} stored \
                               WHERE stored.user_id = staged.user_id AND stored.record_id = staged.record_id) \
             ON CONFLICT DO NOTHING RETURNING record_id"
        ),
        Storage::VersionedUpsert => {
            let updates: Vec<String> = columns(source)
                .filter(|(name, _)| !["user_id", "record_id"].contains(name))
                .map(|(name, _)| format!("{name} = excluded.{name}"))
                .collect();
            format!(
                "INSERT INTO {source} ({names}) SELECT {names} FROM pg_temp.staged_{source} \
                 ON CONFLICT (user_id, record_id) DO UPDATE SET {}, stored_at = now() \
                 WHERE ({source}.event_time, {source}.received_at) < (excluded.event_time, excluded.received_at) \
                 RETURNING record_id",
                updates.join(", ")
            )
        }
    }
}

/// Removes what was received of a user (`$1`, of tenant `$2`) by a moment (`$3`), in another schema where one is named.
pub fn erase(source: Source, schema: Option<&str>) -> String {
    let schema = schema.map(|schema| format!("{}.", quoted(schema))).unwrap_or_default();
    format!("DELETE FROM {schema}{source} WHERE user_id = $1 AND tenant = $2 AND received_at <= $3")
}

/// Keeps what was written since the savepoint, and begins the next piece with an empty staging table.
pub fn next_piece(source: Source) -> String {
    format!("DELETE FROM pg_temp.staged_{source}; RELEASE SAVEPOINT piece; SAVEPOINT piece")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statements_of_an_append_source() {
        assert_eq!(
            staging(Source::Events),
            "CREATE TEMPORARY TABLE IF NOT EXISTS staged_events (record_id uuid, event_time timestamptz, tenant text, \
             user_id text, device_id text, batch_id uuid, received_at timestamptz, topic_id uuid, partition integer, \
             \"offset\" bigint, index integer, raw jsonb, name text) ON COMMIT DELETE ROWS;\n"
        );
        assert_eq!(
            copy(Source::Events, None),
            "COPY events (record_id, event_time, tenant, user_id, device_id, batch_id, received_at, topic_id, partition, \
             \"offset\", index, raw, name) FROM STDIN (FORMAT binary)"
        );
        assert_eq!(
            copy(Source::Events, Some("(name <> '') IS NOT FALSE")),
            copy(Source::Events, None) + " WHERE (name <> '') IS NOT FALSE"
        );
        assert_eq!(
            stage(Source::Events),
            "COPY pg_temp.staged_events (record_id, event_time, tenant, user_id, device_id, batch_id, received_at, \
             topic_id, partition, \"offset\", index, raw, name) FROM STDIN (FORMAT binary)"
        );
        assert!(merge(Source::Events).contains("WHERE NOT EXISTS"));
    }

    #[test]
    fn a_versioned_source_replaces_only_what_is_older() {
        let merge = merge(Source::Contacts);
        assert!(
            merge.contains("ON CONFLICT (user_id, record_id) DO UPDATE SET event_time = excluded.event_time"),
            "{merge}"
        );
        assert!(
            merge.ends_with(
                "WHERE (contacts.event_time, contacts.received_at) < (excluded.event_time, excluded.received_at) \
                 RETURNING record_id"
            ),
            "{merge}"
        );
    }
}
