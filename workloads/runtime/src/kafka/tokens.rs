//! Tokens for librdkafka, which asks for them in the middle of a poll and waits for the answer.

use super::Security;
use crate::env::{Env, EnvError};
use contract::env;
use kafka_identity::Login;
use kafka_identity::msk::{Signer, Token, TokenError};
use rdkafka::client::OAuthToken;
use std::{
    error::Error,
    fmt, io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Longest wait of librdkafka for a token, a little more than the signer's own. It asks again after ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the answer goes.
type Reply = mpsc::SyncSender<Result<Token, TokenError>>;

/// Why librdkafka gets no token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// The environment asks for none, so librdkafka should not either.
    #[error("{name} is not AWS_MSK_IAM", name = env::KAFKA_SASL_MECHANISM)]
    NotWanted,
    /// The thread cannot be started.
    #[error("no thread for the tokens of MSK: {0}")]
    Thread(#[from] io::Error),
    /// Whoever signs them takes too long.
    #[error("no token for MSK within {} s", PATIENCE.as_secs())]
    Late,
    /// Whoever signs them says why.
    #[error("no token for MSK: {0}")]
    Token(#[from] TokenError),
}

/// Answers librdkafka's calls for a token, for the client contexts of this workload. Clones share one signer.
#[derive(Clone, Default)]
pub struct Tokens {
    source: Option<Arc<Source>>,
}

/// A thread with a runtime of its own signs: the caller is a thread of librdkafka or one that polls, and what it
/// waits for must not need that thread.
struct Source {
    signer: Signer,
    requests: Mutex<Option<UnboundedSender<Reply>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signer = self.source.as_ref().map(|source| &source.signer);
        f.debug_tuple("Tokens").field(&signer).finish()
    }
}

impl Tokens {
    /// Of the region that the environment names; none where it names another way. Starts nothing yet.
    pub fn from_env(env: &Env) -> Result<Tokens, EnvError> {
        Ok(match Security::from_env(env)?.login {
            Some(Login::AwsMskIam { region }) => Tokens::signed_by(Signer::new(&region)),
            _ => Tokens::default(),
        })
    }

    fn signed_by(signer: Signer) -> Tokens {
        Tokens {
            source: Some(Arc::new(Source {
                signer,
                requests: Mutex::default(),
            })),
        }
    }

    /// What a client context answers in `generate_oauth_token`. Blocks its thread for at most a few seconds, and only
    /// where AWS has to be asked, which is once an hour.
    pub fn answer(&self) -> Result<OAuthToken, Box<dyn Error>> {
        let token = self.wait()?;
        Ok(OAuthToken {
            lifetime_ms: token.ends_millis(),
            token: token.value,
            // Brokers take the name out of the token.
            principal_name: String::new(),
        })
    }

    fn wait(&self) -> Result<Token, NoToken> {
        let source = self.source.as_ref().ok_or(NoToken::NotWanted)?;
        let (reply, answer) = mpsc::sync_channel(1);
        source.requests()?.send(reply).map_err(|_| NoToken::Late)?;
        Ok(answer.recv_timeout(PATIENCE).map_err(|_| NoToken::Late)??)
    }
}

impl Source {
    /// The way to the thread, which starts with the first request and ends with the last clone of the tokens.
    fn requests(&self) -> Result<UnboundedSender<Reply>, NoToken> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let running = requests.take().filter(|requests| !requests.is_closed());
        let running = running.map_or_else(|| start(self.signer.clone()), Ok)?;
        Ok(requests.insert(running).clone())
    }
}

fn start(signer: Signer) -> io::Result<UnboundedSender<Reply>> {
    let (requests, mut waiting) = unbounded_channel::<Reply>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = async move {
        while let Some(reply) = waiting.recv().await {
            // Whoever asked may have gone: librdkafka asks again.
            let _ = reply.try_send(signer.token().await);
        }
    };
    thread::Builder::new()
        .name("msk-tokens".to_owned())
        .spawn(move || runtime.block_on(serve))?;
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::{Credentials, credential_fn::provide_credentials_fn};
    use rdkafka::{
        ClientConfig, ClientContext,
        consumer::{BaseConsumer, Consumer, ConsumerContext},
        producer::FutureProducer,
    };
    use std::time::Instant;

    fn credentials() -> Credentials {
        Credentials::new("id", "hidden", None, None, "test")
    }

    /// Tells the test what librdkafka was answered.
    #[derive(Clone)]
    struct Told {
        tokens: Tokens,
        answers: mpsc::Sender<Result<i64, String>>,
    }

    impl ClientContext for Told {
        const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

        fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
            let answer = self.tokens.answer();
            let told = answer.as_ref().map(|token| token.lifetime_ms);
            self.answers.send(told.map_err(ToString::to_string)).unwrap();
            answer
        }
    }

    impl ConsumerContext for Told {}

    /// Brokers that nobody needs: the token comes first.
    fn config() -> ClientConfig {
        let environment = Env::from_pairs([
            (env::KAFKA_BROKER_ENDPOINT, "127.0.0.1:1"),
            (env::KAFKA_SECURITY_PROTOCOL, "SASL_SSL"),
            (env::KAFKA_SASL_MECHANISM, "AWS_MSK_IAM"),
            (env::KAFKA_AWS_REGION, "eu-central-1"),
        ]);
        super::super::client_config(&environment).unwrap()
    }

    #[test]
    fn producer_and_consumer_ask_for_a_token_and_take_it() {
        let tokens = Tokens::signed_by(Signer::with_provider("eu-central-1", credentials()));
        let (answers, answered) = mpsc::channel();
        let context = Told { tokens, answers };
        let soon = Duration::from_secs(10);

        let _producer: FutureProducer<Told> = config().create_with_context(context.clone()).unwrap();
        assert!(answered.recv_timeout(soon).unwrap().is_ok());

        let mut config = config();
        config.set("group.id", "group");
        let consumer: BaseConsumer<Told> = config.create_with_context(context).unwrap();
        consumer.subscribe(&["topic"]).unwrap();
        let _ = consumer.poll(Duration::from_secs(1));
        assert!(answered.recv_timeout(soon).unwrap().is_ok());
    }

    #[test]
    fn a_silent_aws_holds_librdkafka_up_for_seconds_only() {
        let tokens = Tokens::signed_by(Signer::with_provider(
            "eu-central-1",
            provide_credentials_fn(std::future::pending),
        ));
        let start = Instant::now();
        let error = tokens.answer().map(|_| ()).unwrap_err().to_string();
        assert!(
            error.starts_with("no token for MSK: AWS gave this pod no credentials"),
            "{error}"
        );
        assert!(
            start.elapsed() < PATIENCE + Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn the_answer_does_not_need_the_thread_that_waits_for_it() {
        let tokens = Tokens::signed_by(Signer::with_provider("eu-central-1", credentials()));
        // The only thread of this test's runtime blocks here.
        assert!(tokens.answer().is_ok());
    }

    #[test]
    fn with_a_password_there_are_none() {
        let none = Tokens::from_env(&Env::from_pairs([(env::KAFKA_SECURITY_PROTOCOL, "SSL")])).unwrap();
        assert!(matches!(none.wait(), Err(NoToken::NotWanted)));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let tokens = Tokens::signed_by(Signer::with_provider("eu-central-1", credentials()));
        let shown = format!("{tokens:?}");
        assert!(shown.contains("eu-central-1") && !shown.contains("hidden"), "{shown}");
    }
}
