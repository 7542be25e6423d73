//! Two producers on one real PostgreSQL: what they agree on, and what becomes of it when PostgreSQL is killed:
//! `cargo test -p e2e --test producer_database`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod own_services;
mod producer_accounts;

use contract::env;
use contract::http::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAY};
use contract::{Receipt, SyncResponse};
use futures::future::join_all;
use producer::Settings;
use producer::database::{Database, DatabaseSettings};
use producer::idempotency::store::KeptAnswers;
use producer::keys::store::{NewKey, Revocation};
use producer::keys::token::Token;
use producer_accounts::{Accounts, path_of};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use reqwest::{Client, RequestBuilder, StatusCode};
use runtime::env::Env;
use serde_json::{Value, json};
use services::Running;
use sqlx::postgres::PgConnectOptions;
use sqlx::{PgPool, Row};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn producers_agree_by_postgresql_and_go_on_without_it() {
    own_services::with_brokers(1, async |running| {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("sms_batched", 1, 1).unwrap();
        let mut stage = Stage::set(&running, &cluster).await;
        stage.the_tables_are_made_once_beside_those_of_others().await;
        stage.a_revoked_key_is_refused_within_thirty_seconds().await;
        stage.a_repeat_is_answered_by_either().await;
        stage.of_repeats_at_once_one_is_done().await;
        stage.a_claim_whose_replica_died_is_taken_over().await;
        stage.what_is_kept_no_longer_is_deleted().await;
        stage.a_quota_holds_over_both().await;
        stage.receipts_and_accounts_are_told_as_consumers_note_them().await;
        stage.without_postgresql_what_does_not_need_it_goes_on().await;
        stage.end().await;
    });
}

/// Two producers that ask for keys, on one PostgreSQL and one Kafka.
struct Stage {
    client: Client,
    bases: [String; 2],
    database: Database,
    settings: DatabaseSettings,
    tables: PgPool,
    accounts: Accounts,
    token: Token,
    stop: CancellationToken,
    ended: Vec<tokio::task::JoinHandle<Result<(), producer::serve::RunError>>>,
    uploads: u32,
}

impl Stage {
    async fn set(running: &Running, cluster: &MockCluster<'_, DefaultProducerContext>) -> Stage {
        let postgres = &running.postgres;
        let environment = Env::from_pairs([
            (env::KAFKA_BROKER_ENDPOINT, cluster.bootstrap_servers()),
            (env::ENABLED_TOPICS, "sms_batched".to_owned()),
            (env::API_KEYS, "Required".to_owned()),
            (env::POSTGRES_HOST, postgres.address.ip().to_string()),
            (env::POSTGRES_PORT, postgres.address.port().to_string()),
            (env::POSTGRES_USERNAME, postgres.username.clone()),
            (env::POSTGRES_PASSWORD, postgres.password.clone()),
            (env::POSTGRES_DATABASE, "api_insights_db".to_owned()),
            (env::POSTGRES_SYNC_DATABASE, "sync_db".to_owned()),
            (env::POSTGRES_SCHEMA, "blue".to_owned()),
        ]);
        let stop = CancellationToken::new();
        let (mut bases, mut ended) = (Vec::new(), Vec::new());
        // At once, as the pods of a Deployment.
        for _ in 0..2 {
            let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
            let mut settings = Settings::from_env(&environment).unwrap();
            settings.port = port;
            settings.drain_delay = Duration::ZERO;
            bases.push(format!("http://127.0.0.1:{port}"));
            ended.push(tokio::spawn(producer::run(settings, stop.clone())));
        }
        let settings = Settings::from_env(&environment).unwrap();
        let accounts = Accounts::of(&settings);
        let settings: DatabaseSettings = settings.database.unwrap();
        let options: PgConnectOptions = settings.server.options(&settings.database, "test");
        let tables = PgPool::connect_lazy_with(options.options([("search_path", settings.schema.as_str())]));
        let database = Database::prepared(settings.clone()).await.unwrap();
        let mut stage = Stage {
            client: Client::new(),
            bases: bases.try_into().unwrap(),
            database,
            settings,
            tables,
            accounts,
            token: Token::random(),
            stop,
            ended,
            uploads: 0,
        };
        stage.token = stage.key(None).await;
        for number in 0..2 {
            let base = stage.bases[number].clone();
            eventually("ready", || async {
                let ready = stage.client.get(format!("{base}/ready")).send().await;
                ready.is_ok_and(|answer| answer.status() == StatusCode::OK)
            })
            .await;
        }
        stage
    }

    async fn key(&self, quota: Option<u32>) -> Token {
        let token = Token::random();
        let new = NewKey {
            client: "phones".to_owned(),
            tenant: None,
            quota: quota.and_then(NonZeroU32::new),
        };
        self.database.create_key(&token, new).await.unwrap();
        token
    }

    /// An upload of one new record to one of the producers.
    fn upload(&mut self, producer: usize, token: &Token) -> RequestBuilder {
        self.uploads += 1;
        self.upload_of(producer, token, self.uploads)
    }

    fn upload_of(&self, producer: usize, token: &Token, id: u32) -> RequestBuilder {
        let record = json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"});
        self.client
            .post(format!("{}/v1/sync/sms", self.bases[producer]))
            .bearer_auth(token.reveal())
            .json(&json!({"user": "u", "device": "d", "record": record}))
    }

    async fn the_tables_are_made_once_beside_those_of_others(&mut self) {
        let schemas: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT table_schema::text FROM information_schema.tables \
             WHERE table_name IN ('api_key', 'quota_use', 'idempotent_request', '_sqlx_migrations')",
        )
        .fetch_all(&self.tables)
        .await
        .unwrap();
        assert_eq!(schemas, ["producer_blue"]);
        let migrations: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
            .fetch_one(&self.tables)
            .await
            .unwrap();
        assert_eq!(migrations, 3);

        // A newer release was here, and a pod of this one starts once more.
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'newer', true, '', 0)";
        sqlx::query(newer).execute(&self.tables).await.unwrap();
        Database::prepared(self.settings.clone()).await.unwrap().close().await;
    }

    async fn a_revoked_key_is_refused_within_thirty_seconds(&mut self) {
        let token = self.key(None).await;
        for producer in 0..2 {
            let answer = self.upload(producer, &token).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let answer = self.upload(producer, &Token::random()).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        }
        let kept: Vec<u8> = sqlx::query_scalar("SELECT secret_hash FROM api_key WHERE id = $1")
            .bind(token.id())
            .fetch_one(&self.tables)
            .await
            .unwrap();
        assert_eq!(kept, token.hash().as_bytes());

        let revoked = Instant::now();
        assert_eq!(self.database.revoke_key(token.id()).await, Ok(Revocation::Done));
        let again = self.database.revoke_key(token.id()).await;
        assert!(matches!(again, Ok(Revocation::Before(_))), "{again:?}");
        assert_eq!(self.database.revoke_key("0").await, Ok(Revocation::NoSuchKey));
        for producer in 0..2 {
            let request = self.upload(producer, &token);
            eventually("refused", || async {
                let answer = request.try_clone().unwrap().send().await.unwrap();
                answer.status() == StatusCode::UNAUTHORIZED
            })
            .await;
        }
        assert!(revoked.elapsed() < SOON, "{:?}", revoked.elapsed());
    }

    async fn a_repeat_is_answered_by_either(&mut self) {
        let token = self.token.clone();
        self.uploads += 1;
        let id = self.uploads;
        let mut answers = Vec::new();
        for producer in [0, 1, 0] {
            let request = self.upload_of(producer, &token, id).header(IDEMPOTENCY_KEY, "repeat");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let replayed = answer.headers().contains_key(IDEMPOTENT_REPLAY);
            answers.push((replayed, answer.json::<Value>().await.unwrap()));
        }
        assert_eq!(
            answers.iter().map(|answer| answer.0).collect::<Vec<_>>(),
            [false, true, true]
        );
        assert!(answers.iter().all(|answer| answer.1 == answers[0].1));

        let other = self.upload(1, &token).header(IDEMPOTENCY_KEY, "repeat");
        assert_eq!(other.send().await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }

    async fn of_repeats_at_once_one_is_done(&mut self) {
        let token = self.token.clone();
        self.uploads += 1;
        let id = self.uploads;
        let requests = (0..40).map(|number| {
            let request = self
                .upload_of(number % 2, &token, id)
                .header(IDEMPOTENCY_KEY, "at-once");
            async move {
                let answer = request.send().await.unwrap();
                let (status, waits) = (answer.status(), answer.headers().contains_key("retry-after"));
                (status, waits, answer.json::<Value>().await.unwrap())
            }
        });
        let mut receipts = BTreeSet::new();
        for (status, waits, body) in join_all(requests).await {
            match status {
                StatusCode::OK => drop(receipts.insert(body["results"][0]["receipt"]["offset"].as_i64().unwrap())),
                StatusCode::CONFLICT => assert!(waits),
                other => panic!("{other}: {body}"),
            }
        }
        assert_eq!(receipts.len(), 1, "one message");
    }

    async fn a_claim_whose_replica_died_is_taken_over(&mut self) {
        let token = self.token.clone();
        self.uploads += 1;
        let id = self.uploads;
        let request = |producer| self.upload_of(producer, &token, id).header(IDEMPOTENCY_KEY, "claim");
        assert_eq!(request(0).send().await.unwrap().status(), StatusCode::OK);
        // As the first producer would have left it, had it died before its answer.
        let claimed = "UPDATE idempotent_request SET status = NULL, answer = NULL, \
                       claimed_until = now() + $1 * interval '1 second' WHERE key = 'claim'";
        sqlx::query(claimed).bind(20).execute(&self.tables).await.unwrap();
        let answer = request(1).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        let seconds: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=20).contains(&seconds), "{seconds}");
        sqlx::query(claimed).bind(0).execute(&self.tables).await.unwrap();
        let answer = request(1).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key(IDEMPOTENT_REPLAY), "done anew");
    }

    async fn what_is_kept_no_longer_is_deleted(&mut self) {
        let rows = "INSERT INTO idempotent_request SELECT 'other', n::text, sha256(n::text::bytea), gen_random_uuid(), \
                    now(), 200, '{}', now() - interval '1 second' FROM generate_series(1, 1203) n";
        sqlx::query(rows).execute(&self.tables).await.unwrap();
        let kept = KeptAnswers {
            database: self.database.clone(),
            window: SOON,
        };
        assert_eq!(kept.delete_old().await, Ok(1203));
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM idempotent_request")
            .fetch_one(&self.tables)
            .await
            .unwrap();
        assert_eq!(left, 3, "those of the other scenarios");

        // Its key is free again.
        let over = "UPDATE idempotent_request SET expires_at = now() WHERE key = 'repeat'";
        sqlx::query(over).execute(&self.tables).await.unwrap();
        let token = self.token.clone();
        let request = self.upload(0, &token).header(IDEMPOTENCY_KEY, "repeat");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key(IDEMPOTENT_REPLAY));
    }

    async fn a_quota_holds_over_both(&mut self) {
        const QUOTA: u32 = 200;
        let token = self.key(Some(QUOTA)).await;
        eventually("early in a minute", || async {
            let second = "SELECT extract(second FROM clock_timestamp())::float8 AS second";
            let row = sqlx::query(second).fetch_one(&self.tables).await.unwrap();
            row.get::<f64, _>("second") < 35.0
        })
        .await;
        let requests: Vec<RequestBuilder> = (0..2 * QUOTA as usize)
            .map(|number| self.upload(number % 2, &token))
            .collect();
        let answers = join_all(requests.into_iter().map(RequestBuilder::send)).await;
        let mut admitted = 0;
        for answer in answers {
            let answer = answer.unwrap();
            match answer.status() {
                StatusCode::OK => admitted += 1,
                StatusCode::TOO_MANY_REQUESTS => {
                    let seconds: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                    assert!((1..=60).contains(&seconds), "{seconds}");
                }
                other => panic!("{other}"),
            }
        }
        // What a producer has in hand when the other one finds nothing left is given out too: there were enough wishes.
        assert_eq!(admitted, QUOTA);
    }

    async fn receipts_and_accounts_are_told_as_consumers_note_them(&mut self) {
        let token = self.token.clone();
        let key = token.reveal();
        let receipt = self.receipt(&token).await;
        self.accounts.nothing_is_noted_yet(&self.bases[0], &key, &receipt).await;
        self.accounts.what_is_noted_is_told(&self.bases, &key, &receipt).await;
        self.accounts.a_message_is_found_among_many().await;
    }

    /// Of a new upload.
    async fn receipt(&mut self, token: &Token) -> Receipt {
        let answer = self.upload(0, token).send().await.unwrap();
        let answer: SyncResponse = answer.json().await.unwrap();
        answer.receipts().next().unwrap().clone()
    }

    async fn without_postgresql_what_does_not_need_it_goes_on(&mut self) {
        let token = self.token.clone();
        services::postgres::kill9().unwrap();
        for producer in 0..2 {
            let answer = self.upload(producer, &token).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "a known key");
            let repeatable = self.upload(producer, &token).header(IDEMPOTENCY_KEY, "away");
            for request in [repeatable, self.upload(producer, &Token::random())] {
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert_eq!(answer.headers()["retry-after"], "5");
            }
            let receipt = self
                .accounts
                .ask(&self.bases[producer], &path_of(0), &token.reveal())
                .await;
            assert_eq!(receipt.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(receipt.headers()["retry-after"], "5");
            // Found out once, told at once.
            let asked = Instant::now();
            let repeatable = self.upload(producer, &token).header(IDEMPOTENCY_KEY, "away");
            assert_eq!(
                repeatable.send().await.unwrap().status(),
                StatusCode::SERVICE_UNAVAILABLE
            );
            assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
            let ready = self.client.get(format!("{}/ready", self.bases[producer])).send();
            assert_eq!(ready.await.unwrap().status(), StatusCode::OK, "readiness follows Kafka");
        }
        services::postgres::start().unwrap();
        for producer in 0..2 {
            let request = self
                .upload(producer, &token)
                .header(IDEMPOTENCY_KEY, format!("back-{producer}"));
            eventually("back", || async {
                let answer = request.try_clone().unwrap().send().await.unwrap();
                answer.status() == StatusCode::OK
            })
            .await;
            eventually("told again", || async {
                let receipt = self
                    .accounts
                    .ask(&self.bases[producer], &path_of(1), &token.reveal())
                    .await;
                receipt.status() == StatusCode::OK
            })
            .await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        for ended in self.ended {
            ended.await.unwrap().unwrap();
        }
        self.database.close().await;
    }
}

async fn eventually<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    let started = Instant::now();
    while !look().await {
        assert!(started.elapsed() < Duration::from_secs(60), "not {what} in time");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
