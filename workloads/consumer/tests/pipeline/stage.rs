//! What a scenario has to itself: topics, a consumer group, a schema and a database.

use crate::{reader::Reader, wait};
use anyhow::{Context, Result, ensure};
use contract::{Source, env, header};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use rustix::process::{Pid, Signal, kill_process};
use services::Running;
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

pub(crate) const PARTITIONS: i32 = 4;
const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) struct Stage {
    pub(crate) running: Running,
    pub(crate) name: String,
    readers: std::cell::Cell<u16>,
}

impl Stage {
    pub(crate) async fn set(running: &Running, name: &str) -> Result<Stage> {
        let stage = Stage {
            running: running.clone(),
            name: name.to_owned(),
            readers: 0.into(),
        };
        for source in Source::ALL {
            stage.create_topic(&stage.topic(source), PARTITIONS).await?;
            stage
                .create_topic(&header::dead_letter_topic(&stage.topic(source)), 1)
                .await?;
        }
        Ok(stage)
    }

    pub(crate) fn topic(&self, source: Source) -> String {
        format!("{}{}", self.prefix(), source.topic())
    }

    fn prefix(&self) -> String {
        format!("{}.", self.name)
    }

    pub(crate) fn kafka(&self) -> ClientConfig {
        let kafka = &self.running.kafka;
        let brokers: Vec<String> = kafka.brokers.iter().map(SocketAddr::to_string).collect();
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers.join(","))
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", &kafka.username)
            .set("sasl.password", &kafka.password);
        config
    }

    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new()
            .operation_timeout(Some(KAFKA_TIMEOUT))
            .request_timeout(Some(KAFKA_TIMEOUT));
        let created = self.admin()?.create_topics([&new], &options).await?.remove(0);
        created
            .map(drop)
            .map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))
    }

    pub(crate) async fn delete_topic(&self, topic: &str) -> Result<()> {
        let deleted = self
            .admin()?
            .delete_topics(&[topic], &AdminOptions::new())
            .await?
            .remove(0);
        deleted
            .map(drop)
            .map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))
    }

    /// Deletes the messages before these offsets, as retention does.
    pub(crate) async fn delete_before(&self, offsets: impl Iterator<Item = (&str, i32, i64)>) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in offsets {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        let options = AdminOptions::new().request_timeout(Some(KAFKA_TIMEOUT));
        let deleted = self.admin()?.delete_records(&list, &options).await?;
        for element in deleted.elements() {
            element.error()?;
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.kafka().create()?)
    }

    /// The environment of a reader of these sources.
    pub(crate) fn environment(&self, sources: &[Source]) -> Vec<(&'static str, String)> {
        let Running {
            kafka,
            postgres,
            mongodb,
        } = &self.running;
        let brokers: Vec<String> = kafka.brokers.iter().map(SocketAddr::to_string).collect();
        let topics: Vec<String> = sources.iter().map(|source| self.topic(*source)).collect();
        vec![
            (env::KAFKA_BROKER_ENDPOINT, brokers.join(",")),
            (env::KAFKA_SECURITY_PROTOCOL, "SASL_PLAINTEXT".to_owned()),
            (env::KAFKA_SASL_MECHANISM, "SCRAM-SHA-512".to_owned()),
            (env::KAFKA_USERNAME, kafka.username.clone()),
            (env::KAFKA_PASSWORD, kafka.password.clone()),
            (env::KAFKA_TOPIC_PREFIX, self.prefix()),
            (env::ENABLED_TOPICS, topics.join(",")),
            (env::KAFKA_CONSUMER_GROUP, self.name.clone()),
            (env::POSTGRES_HOST, postgres.address.ip().to_string()),
            (env::POSTGRES_PORT, postgres.address.port().to_string()),
            (env::POSTGRES_USERNAME, postgres.username.clone()),
            (env::POSTGRES_PASSWORD, postgres.password.clone()),
            (env::POSTGRES_SYNC_DATABASE, "sync_db".to_owned()),
            (env::POSTGRES_SCHEMA, self.name.clone()),
            (env::MONGODB_HOST, mongodb.address.ip().to_string()),
            (env::MONGODB_PORT, mongodb.address.port().to_string()),
            (env::MONGODB_DATABASE, self.name.replace('-', "_")),
            (env::MONGODB_USERNAME, mongodb.username.clone()),
            (env::MONGODB_PASSWORD, mongodb.password.clone()),
            (env::MONGODB_AUTH_MECHANISM, "PLAIN".to_owned()),
            (env::MONGODB_AUTH_SOURCE, "$external".to_owned()),
            (env::MONGODB_MIN_POOL_SIZE, "0".to_owned()),
            (env::MONGODB_SERVER_SELECTION_TIMEOUT_MS, "3000".to_owned()),
        ]
    }

    /// Starts a reader of these sources; `changes` come on top of its environment.
    pub(crate) fn start(&self, sources: &[Source], changes: &[(&'static str, String)]) -> Result<Reader> {
        let number = self.readers.replace(self.readers.get() + 1);
        let mut environment = self.environment(sources);
        environment.extend_from_slice(changes);
        Reader::start(&format!("{}-{number}", self.name), environment)
    }

    /// Starts a reader and waits until it is ready.
    pub(crate) async fn start_ready(&self, sources: &[Source]) -> Result<Reader> {
        let reader = self.start(sources, &[])?;
        reader.until_ready().await?;
        Ok(reader)
    }

    /// What a command on dead letters says.
    pub(crate) fn dlq(&self, arguments: &[&str]) -> Result<String> {
        self.command(&[&["dlq"], arguments].concat())
    }

    /// What a command says, with the environment of a reader of all sources.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String> {
        end_of(self.start_command(arguments)?)
    }

    /// A command that is under way.
    pub(crate) fn start_command(&self, arguments: &[&str]) -> Result<Child> {
        Ok(Command::new(env!("CARGO_BIN_EXE_consumer"))
            .args(arguments)
            .env_clear()
            .envs(self.environment(&Source::ALL))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?)
    }

    /// The end of each partition of these sources.
    pub(crate) fn ends(&self, sources: &[Source]) -> Result<Vec<(String, i32, i64)>> {
        let consumer: BaseConsumer = self.kafka().create()?;
        let mut ends = Vec::new();
        for source in sources {
            for partition in 0..PARTITIONS {
                let topic = self.topic(*source);
                let (_, end) = consumer.fetch_watermarks(&topic, partition, KAFKA_TIMEOUT)?;
                ends.push((topic, partition, end));
            }
        }
        Ok(ends)
    }

    fn group(&self) -> Result<BaseConsumer> {
        Ok(self
            .kafka()
            .set("group.id", &self.name)
            .set("enable.auto.commit", "false")
            .create()?)
    }

    /// Waits until the group has committed the end of every partition: lag 0.
    pub(crate) async fn until_no_lag(&self, sources: &[Source]) -> Result<()> {
        let ends = self.ends(sources)?;
        let group = self.group()?;
        wait::until("lag 0", Duration::from_secs(120), async || {
            let mut list = TopicPartitionList::new();
            for (topic, partition, _) in &ends {
                list.add_partition(topic, *partition);
            }
            let committed = group.committed_offsets(list, KAFKA_TIMEOUT)?.to_topic_map();
            let behind: Vec<String> = ends
                .iter()
                .filter(|(topic, partition, end)| {
                    committed.get(&(topic.clone(), *partition)) != Some(&Offset::Offset(*end))
                })
                .map(|(topic, partition, end)| {
                    format!(
                        "{topic}/{partition}: {:?} of {end}",
                        committed.get(&(topic.clone(), *partition))
                    )
                })
                .collect();
            Ok((!behind.is_empty()).then(|| behind.join(", ")))
        })
        .await
    }

    /// Sets the group's committed offsets to 0, as an operator does who wants a replay. The group must be empty.
    pub(crate) async fn reset_commits(&self, sources: &[Source]) -> Result<()> {
        self.commit(sources, |_| 0).await
    }

    /// Sets the group's committed offsets to the topics' ends, as if everything had been read. The group must be
    /// empty.
    pub(crate) async fn commit_end(&self, sources: &[Source]) -> Result<()> {
        self.commit(sources, |end| end).await
    }

    async fn commit(&self, sources: &[Source], offset: impl Fn(i64) -> i64) -> Result<()> {
        let group = self.group()?;
        let mut list = TopicPartitionList::new();
        for (topic, partition, end) in self.ends(sources)? {
            list.add_partition_offset(&topic, partition, Offset::Offset(offset(end)))?;
        }
        wait::until("the group is empty", Duration::from_secs(30), async || {
            group
                .commit(&list, CommitMode::Sync)
                .context("set the committed offsets")?;
            Ok(None)
        })
        .await
    }

    /// All messages of a topic with one partition.
    pub(crate) fn read_all(&self, topic: &str) -> Result<Vec<rdkafka::message::OwnedMessage>> {
        let consumer: BaseConsumer = self.kafka().set("group.id", "unused").create()?;
        let (_, end) = consumer.fetch_watermarks(topic, 0, KAFKA_TIMEOUT)?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)?;
        consumer.assign(&list)?;
        let mut messages = Vec::new();
        while (messages.len() as i64) < end {
            let message = consumer.poll(KAFKA_TIMEOUT).context("no message")??;
            messages.push(message.detach());
        }
        ensure!(messages.len() as i64 == end, "{topic}: more than {end} messages");
        Ok(messages)
    }
}

/// What a command says; one that does not end is killed.
pub(crate) fn end_of(command: Child) -> Result<String> {
    let pid = Pid::from_child(&command);
    let (done, ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let output = command.wait_with_output();
        // Nobody waits for it any more when it took too long.
        let _ = done.send(());
        output
    });
    if ended.recv_timeout(COMMAND_TIMEOUT).is_err() {
        kill_process(pid, Signal::KILL)?;
    }
    let output = waiting.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {problem}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The first line that a command writes for people.
pub(crate) fn first_word_of(command: &mut Child) -> Result<String> {
    let problem = command.stderr.take().context("it was read before")?;
    let mut problem = BufReader::new(problem);
    let mut line = String::new();
    problem.read_line(&mut line)?;
    // What follows is for the end.
    command.stderr = Some(problem.into_inner());
    Ok(line)
}
