//! The credentials that AWS gives this process, and tokens made of them.

use std::error::Error;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::chain;
use super::token::{self, SigningError, Token};

/// Longest wait for credentials: less than any Kafka client waits for a token.
const PATIENCE: Duration = Duration::from_secs(4);
/// Credentials are renewed this long before they end, so that an hour of trouble at AWS begins with a warning.
const RENEW: Duration = Duration::from_secs(300);

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nobody gives this process credentials.
    #[error(
        "AWS gives this pod no credentials: {problem}; give its ServiceAccount a role, by the annotation \
         eks.amazonaws.com/role-arn or by EKS Pod Identity"
    )]
    NoCredentials {
        /// What was tried, and what went wrong.
        problem: String,
    },
    /// Whoever gives credentials does not answer.
    #[error(
        "AWS gave this pod no credentials within {seconds} s; it must reach sts.{region}.amazonaws.com:443, or \
         169.254.170.23:80 with EKS Pod Identity"
    )]
    Late {
        /// How long was waited.
        seconds: u64,
        /// Region whose STS was asked.
        region: String,
    },
    /// The token cannot be made.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

/// Makes tokens for the brokers of one region. Clones share the credentials.
#[derive(Clone)]
pub struct Signer {
    region: Arc<str>,
    patience: Duration,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    provider: Option<SharedCredentialsProvider>,
    credentials: Option<Credentials>,
}

impl fmt::Debug for Signer {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// With the credentials of AWS's own chain. Nothing is asked for before the first token is wanted.
    pub fn new(region: &str) -> Signer {
        Signer {
            region: region.into(),
            patience: PATIENCE,
            held: Arc::default(),
        }
    }

    /// With credentials from elsewhere.
    pub fn with_provider(region: &str, provider: impl ProvideCredentials + 'static) -> Signer {
        Signer {
            held: Arc::new(Mutex::new(Held {
                provider: Some(SharedCredentialsProvider::new(provider)),
                credentials: None,
            })),
            ..Signer::new(region)
        }
    }

    /// A new token. Waits at most a few seconds, and only where credentials have to be fetched; nothing blocks.
    pub async fn token(&self) -> Result<Token, TokenError> {
        let give_up = || TokenError::Late {
            seconds: self.patience.as_secs(),
            region: self.region.to_string(),
        };
        let Ok(mut held) = timeout(self.patience, self.held.lock()).await else {
            return Err(give_up());
        };
        let now = SystemTime::now();
        if !held.credentials.as_ref().is_some_and(|held| lasts(held, now + RENEW)) {
            let fetched = timeout(self.patience, held.fetch(&self.region)).await;
            match fetched.unwrap_or_else(|_| Err(give_up())) {
                Ok(credentials) => held.credentials = Some(credentials),
                Err(error) if held.credentials.as_ref().is_some_and(|held| lasts(held, now)) => {
                    tracing::warn!(%error, "the credentials of AWS are not renewed; the old ones last a little longer");
                }
                Err(error) => return Err(error),
            }
        }
        let Some(credentials) = &held.credentials else {
            return Err(give_up());
        };
        Ok(token::sign(credentials, &self.region, SystemTime::now())?)
    }
}

impl Held {
    async fn fetch(&mut self, region: &str) -> Result<Credentials, TokenError> {
        let provider = match &self.provider {
            Some(provider) => provider.clone(),
            None => {
                let problem = || TokenError::NoCredentials {
                    problem: "there is no way to any".to_owned(),
                };
                let found = chain::provider(region).await.ok_or_else(problem)?;
                self.provider.insert(found).clone()
            }
        };
        let fetched = provider.provide_credentials().await;
        fetched.map_err(|error| TokenError::NoCredentials { problem: told(&error) })
    }
}

/// Whether `credentials` are still good at `then`.
fn lasts(credentials: &Credentials, then: SystemTime) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > then)
}

/// The error with all that led to it: the first sentence of AWS's client alone says little.
fn told(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |error| (*error).source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_credential_types::provider::{error::CredentialsError, future};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Gives what the test has for each time it is asked; the last one again and again.
    #[derive(Debug, Clone)]
    struct Script {
        answers: Vec<Answer>,
        asked: Arc<AtomicUsize>,
    }

    #[derive(Debug, Clone, Copy)]
    enum Answer {
        /// Credentials that end after this time.
        Lasting(Duration),
        Refused,
        Silence,
    }

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answers[asked.min(self.answers.len() - 1)];
            future::ProvideCredentials::new(async move {
                match answer {
                    Answer::Lasting(time) => {
                        let ends = Some(SystemTime::now() + time);
                        Ok(Credentials::new("id", "hidden", None, ends, "test"))
                    }
                    Answer::Refused => Err(CredentialsError::provider_error("AccessDenied")),
                    Answer::Silence => std::future::pending().await,
                }
            })
        }
    }

    fn signer(answers: &[Answer]) -> (Signer, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let script = Script {
            answers: answers.to_vec(),
            asked: asked.clone(),
        };
        let mut signer = Signer::with_provider("eu-central-1", script);
        signer.patience = Duration::from_millis(50);
        (signer, asked)
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn credentials_are_fetched_once_and_renewed_before_they_end() {
        let (lasting, asked) = signer(&[Answer::Lasting(HOUR)]);
        for _ in 0..3 {
            lasting.clone().token().await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        let (ending, asked) = signer(&[Answer::Lasting(MINUTE), Answer::Lasting(HOUR)]);
        for _ in 0..3 {
            ending.token().await.unwrap();
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn credentials_that_cannot_be_renewed_serve_to_their_end() {
        for trouble in [Answer::Refused, Answer::Silence] {
            let (signer, asked) = signer(&[Answer::Lasting(MINUTE), trouble]);
            signer.token().await.unwrap();
            let token = signer.token().await.unwrap();
            assert!(token.ends <= SystemTime::now() + MINUTE, "{trouble:?}");
            assert_eq!(asked.load(Ordering::Relaxed), 2, "{trouble:?}");
        }
    }

    #[tokio::test]
    async fn without_credentials_the_error_says_what_to_do() {
        let (refused, _) = signer(&[Answer::Refused]);
        let error = refused.token().await.unwrap_err().to_string();
        assert!(error.contains("AccessDenied") && error.contains("role-arn"), "{error}");

        let (silent, _) = signer(&[Answer::Silence]);
        let error = silent.token().await.unwrap_err().to_string();
        assert!(error.contains("sts.eu-central-1.amazonaws.com:443"), "{error}");
    }

    #[tokio::test]
    async fn after_trouble_it_is_tried_again() {
        let (signer, _) = signer(&[Answer::Silence, Answer::Refused, Answer::Lasting(HOUR)]);
        assert!(signer.token().await.is_err());
        assert!(signer.token().await.is_err());
        signer.token().await.unwrap();
    }

    #[test]
    fn nothing_secret_is_shown() {
        let held = Credentials::new("id", "hidden", Some("session".to_owned()), None, "test");
        let shown = format!("{:?}", Signer::with_provider("eu-central-1", held));
        assert!(shown.contains("eu-central-1") && !shown.contains("hidden"), "{shown}");
    }
}
