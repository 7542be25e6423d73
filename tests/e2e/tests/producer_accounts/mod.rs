//! What producers tell of what consumers have noted in the sync database. The notes are the test's own.

mod among_many;

use consumer::config::PostgresConfig;
use consumer::sink::postgres::schema;
use contract::Receipt;
use producer::Settings;
use producer::ledger::LedgerSettings;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgPool};
use uuid::Uuid;

const TOPIC_ID: Uuid = Uuid::from_u128(0x70);
const OLD_TOPIC_ID: Uuid = Uuid::from_u128(0x71);
const GROUP: &str = "sms-consumer-group";

/// What the consumers of a release without accounts have made.
const OLDER_TABLES: &str = "CREATE SCHEMA blue; CREATE TABLE blue.ledger (cluster_id text, topic text)";

/// The sync database, as the consumers of the pipeline see it.
pub(crate) struct Accounts {
    client: Client,
    settings: LedgerSettings,
    tables: PgPool,
}

impl Accounts {
    pub(crate) fn of(settings: &Settings) -> Accounts {
        let settings = settings.ledger.clone().unwrap();
        let options = settings.server.options(&settings.database, "test");
        Accounts {
            client: Client::new(),
            tables: PgPoolOptions::new()
                .connect_lazy_with(options.options([("search_path", settings.schema.as_str())])),
            settings,
        }
    }

    pub(crate) async fn ask(&self, base: &str, path: &str, key: &str) -> Response {
        let request = self.client.get(format!("{base}{path}")).bearer_auth(key);
        request.send().await.unwrap()
    }

    async fn told(&self, base: &str, path: &str, key: &str) -> Value {
        let answer = self.ask(base, path, key).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }

    /// No consumer has run yet, and then one of an older release.
    pub(crate) async fn nothing_is_noted_yet(&self, base: &str, key: &str, receipt: &Receipt) {
        let told = self.told(base, &path_of(receipt.offset), key).await;
        assert_eq!(
            told,
            json!({"topic": "sms_batched", "partition": 0, "offset": receipt.offset, "state": "waiting"})
        );
        let told = self.told(base, "/v1/reconciliation?hours=2", key).await;
        let sms = &told["sources"][0];
        let accepted = sms["messages"]["accepted"].as_i64().unwrap();
        assert!(accepted > receipt.offset, "{told}");
        assert_eq!(sms["messages"]["inFlight"], accepted);
        assert_eq!((&sms["group"], &told["balanced"]), (&Value::Null, &json!(true)));

        self.tables.execute(sqlx::raw_sql(OLDER_TABLES)).await.unwrap();
        for path in [path_of(receipt.offset), "/v1/reconciliation".to_owned()] {
            // What was read a moment ago is told for a few seconds.
            super::eventually("noticed", || async {
                self.ask(base, &path, key).await.status() != StatusCode::OK
            })
            .await;
            let answer = self.ask(base, &path, key).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["code"], "consumers_outdated");
        }
        self.tables.execute("DROP SCHEMA blue CASCADE").await.unwrap();

        let keyless = self
            .client
            .get(format!("{base}{}", path_of(receipt.offset)))
            .send()
            .await;
        assert_eq!(keyless.unwrap().status(), StatusCode::UNAUTHORIZED);
    }

    /// The tables of this release, with messages up to `receipt` read: it has a row, a dead letter and a repeat.
    pub(crate) async fn what_is_noted_is_told(&self, bases: &[String], key: &str, receipt: &Receipt) {
        self.make_tables().await;
        let read = receipt.offset + 1;
        // The topic had a predecessor of its name, which was read much further.
        self.note_ledger(receipt, OLD_TOPIC_ID, 5_000, "1 hour").await;
        self.note_ledger(receipt, TOPIC_ID, read, "0 hours").await;
        self.note_tally(receipt, read - 1, "30 hours").await;
        self.note_tally(receipt, 1, "0 hours").await;
        self.note_row(receipt.offset, 2, "default").await;
        self.note_row(0, 0, "acme").await;
        let letter = "INSERT INTO dead_letters VALUES ($1, 0, $2, $3, 'data', 'SQLSTATE 22P05: test')";
        for (offset, index) in [(receipt.offset, 0), (1, -1)] {
            let letter = sqlx::query(letter).bind(TOPIC_ID).bind(offset).bind(index);
            letter.execute(&self.tables).await.unwrap();
        }

        for base in bases {
            assert_eq!(
                self.told(base, &path_of(receipt.offset), key).await,
                json!({
                    "topic": "sms_batched", "partition": 0, "offset": receipt.offset, "state": "settled",
                    "postgresql": [2], "mongodb": true,
                    "deadLetters": [{"index": 0, "class": "data", "error": "SQLSTATE 22P05: test"}],
                    "others": {"indexes": [1], "more": true},
                })
            );
            assert_eq!(self.told(base, &path_of(read), key).await["state"], "waiting");
            let others = self.ask(base, &path_of(0), key).await;
            assert_eq!(others.status(), StatusCode::NOT_FOUND, "of another tenant");
            let told = self.told(base, &path_of(1), key).await;
            assert_eq!((&told["deadLetters"], &told["withheld"]), (&json!([]), &json!(true)));
        }
        self.the_account_balances(bases, key, read).await;
        // Bounded, as the pods' share of the server's connections is.
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncpipeline-producer-ledger'";
        let sessions: i64 = sqlx::query_scalar(sessions).fetch_one(&self.tables).await.unwrap();
        assert!((1..=4).contains(&sessions), "{sessions}");
    }

    async fn the_account_balances(&self, bases: &[String], key: &str, read: i64) {
        let path = "/v1/reconciliation?hours=24";
        super::eventually("read once more", || async {
            self.told(&bases[0], path, key).await["sources"][0]["group"] == GROUP
        })
        .await;
        let told = self.told(&bases[0], path, key).await;
        assert_eq!(
            (&told["balanced"], &told["complete"]),
            (&json!(true), &json!(true)),
            "{told}"
        );
        let sms = &told["sources"][0];
        assert_eq!(sms["group"], GROUP);
        let messages = &sms["messages"];
        assert_eq!(
            (&messages["settled"], &messages["difference"]),
            (&json!(read), &json!(0))
        );
        let end = sms["partitions"][0]["endOffset"].as_i64().unwrap();
        assert_eq!(
            (&messages["accepted"], &messages["inFlight"]),
            (&json!(end), &json!(end - read))
        );
        assert_eq!(
            sms["records"],
            json!({
                "records": 3 * read, "stored": read, "deduplicated": read, "deadLettered": read, "erased": 0,
                "difference": 0,
            })
        );
        let hours = sms["byHour"].as_array().unwrap();
        assert_eq!(hours.len(), 1, "the other is longer ago");
        assert_eq!(hours[0]["messages"], 1);

        let page = self.client.get(format!("{}/v1/reconciliation", bases[0]));
        let page = page
            .bearer_auth(key)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
        assert!(page.text().await.unwrap().contains("Everything is accounted for"));

        // Somebody has deleted an account: that shows, on the page's next reading and as a metric.
        let deleted = "DELETE FROM tallies WHERE hour < now() - interval '24 hours'";
        sqlx::query(deleted).execute(&self.tables).await.unwrap();
        let missing = format!(
            "syncpipeline_reconciliation_messages{{outcome=\"unaccounted\",source=\"sms\"}} {}",
            read - 1
        );
        super::eventually("exported", || async {
            let metrics = self.client.get(format!("{}/metrics", bases[0])).send().await.unwrap();
            metrics.text().await.unwrap().lines().any(|line| line == missing)
        })
        .await;
        super::eventually("told", || async {
            self.told(&bases[1], "/v1/reconciliation", key).await["balanced"] == false
        })
        .await;
        let told = self.told(&bases[1], "/v1/reconciliation", key).await;
        let sms = &told["sources"][0];
        assert_eq!(
            (&told["balanced"], &sms["messages"]["difference"]),
            (&json!(false), &json!(read - 1))
        );
    }

    async fn make_tables(&self) {
        let LedgerSettings {
            server,
            database,
            schema,
        } = self.settings.clone();
        schema::migrate(&PostgresConfig {
            server,
            database,
            schema,
            copy_of: None,
            retention_months: None,
        })
        .await
        .unwrap();
    }

    async fn note_ledger(&self, receipt: &Receipt, topic_id: Uuid, next: i64, age: &str) {
        sqlx::query(
            "INSERT INTO ledger (cluster_id, topic_id, topic, partition, group_id, next_offset, mongodb_since, \
                updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 0, now() - $7::interval)",
        )
        .bind(&receipt.cluster)
        .bind(topic_id)
        .bind(&receipt.topic)
        .bind(receipt.partition)
        .bind(GROUP)
        .bind(next)
        .bind(age)
        .execute(&self.tables)
        .await
        .unwrap();
    }

    /// Messages of three records: one stored, one repeated, one a dead letter.
    async fn note_tally(&self, receipt: &Receipt, messages: i64, age: &str) {
        sqlx::query(
            "INSERT INTO tallies VALUES ($1, $2, $3, $4, $5, date_trunc('hour', now() - $7::interval), \
             $6, 0, 0, 3 * $6, $6, $6, $6, 0)",
        )
        .bind(&receipt.cluster)
        .bind(TOPIC_ID)
        .bind(&receipt.topic)
        .bind(receipt.partition)
        .bind(GROUP)
        .bind(messages)
        .bind(age)
        .execute(&self.tables)
        .await
        .unwrap();
    }

    async fn note_row(&self, offset: i64, index: i32, tenant: &str) {
        sqlx::query(
            "INSERT INTO sms (record_id, event_time, tenant, user_id, device_id, batch_id, received_at, topic_id, \
                partition, \"offset\", index, sender, body, raw) \
             VALUES (gen_random_uuid(), now(), $1, 'u', 'd', gen_random_uuid(), now(), $2, 0, $3, $4, '', '', '{}')",
        )
        .bind(tenant)
        .bind(TOPIC_ID)
        .bind(offset)
        .bind(index)
        .execute(&self.tables)
        .await
        .unwrap();
    }
}

pub(crate) fn path_of(offset: i64) -> String {
    format!("/v1/receipts/sms_batched/0/{offset}")
}
