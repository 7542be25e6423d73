//! The rows of one message among very many, of partitions that do not advance alike.

use super::Accounts;
use contract::Source;
use producer::ledger::message;
use serde_json::Value;
use sqlx::Executor;
use uuid::Uuid;

const TOPIC_ID: Uuid = Uuid::from_u128(0x72);
const ROWS: i64 = 200_000;
/// The last partition advances as many times faster than the first.
const PARTITIONS: i64 = 16;

const FILL: &str = "\
    INSERT INTO sms (record_id, event_time, tenant, user_id, device_id, batch_id, received_at, topic_id, \
        partition, \"offset\", index, sender, body, raw) \
    SELECT gen_random_uuid(), now(), 'default', 'u', 'd', gen_random_uuid(), now(), $1, \
        n % $2, (n / $2) * (n % $2 + 1), 0, '', '', '{}' FROM generate_series(0, $3 - 1) AS n ORDER BY n";

/// Blocks of a plan's bitmaps, and of those parts that were read from one end to the other.
fn blocks(plan: &Value) -> i64 {
    assert_ne!(plan["Node Type"], "Seq Scan", "{plan}");
    let own = ["Exact Heap Blocks", "Lossy Heap Blocks"].map(|name| plan[name].as_i64().unwrap_or_default());
    let below = plan["Plans"].as_array().into_iter().flatten().map(blocks);
    own.into_iter().chain(below).sum()
}

impl Accounts {
    /// Few blocks are read for a message, wherever it lies, with statistics and without.
    pub(crate) async fn a_message_is_found_among_many(&self) {
        let fill = sqlx::query(FILL).bind(TOPIC_ID).bind(PARTITIONS).bind(ROWS);
        fill.execute(&self.tables).await.unwrap();
        for maintenance in ["VACUUM sms_default", "ANALYZE sms"] {
            self.tables.execute(maintenance).await.unwrap();
            let pages = "SELECT relpages::bigint FROM pg_class WHERE oid = 'sms_default'::regclass";
            let pages: i64 = sqlx::query_scalar(pages).fetch_one(&self.tables).await.unwrap();
            for partition in [0, PARTITIONS - 1] {
                let step = ROWS / PARTITIONS * 9 / 10;
                let read = self.blocks_read_for(partition, step * (partition + 1)).await;
                assert!((1..pages / 20).contains(&read), "{read} of {pages} blocks");
            }
        }
        self.tables
            .execute("DELETE FROM sms WHERE topic_id = '00000000-0000-0000-0000-000000000072'")
            .await
            .unwrap();
    }

    async fn blocks_read_for(&self, partition: i64, offset: i64) -> i64 {
        let mut transaction = self.tables.begin().await.unwrap();
        transaction.execute(message::BY_INDEX).await.unwrap();
        let rows = message::rows(Source::Sms);
        let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) {rows}");
        let plan: Value = sqlx::query_scalar(&explain)
            .bind(TOPIC_ID)
            .bind(partition as i32)
            .bind(offset)
            .bind(10_i64)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        let found = &plan[0]["Plan"]["Actual Rows"];
        assert_eq!(found.as_f64(), Some(1.0), "{plan}");
        blocks(&plan[0]["Plan"])
    }
}
