//! What happens in a round: decided by the seed and the round's number alone.
//!
//! Each ten rounds have every kind of fault once, in an order of their own. From the second ten on, a second fault may
//! come at the same time, of another part.

use crate::relay::Way;
use crate::stage::{BROKERS, CONSUMERS, PRODUCERS};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use std::fmt;
use std::time::Duration;

/// Share of rounds before which a base backup is made, and of rounds after the first ten with a second fault.
const BACKED_UP: f64 = 0.25;
const DOUBLED: f64 = 0.4;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ProducerKilled,
    ConsumerKilled,
    BrokerKilled,
    PostgresKilled,
    MongodbKilled,
    KafkaCut,
    PostgresCut,
    MongodbCut,
    Restored,
    Storm,
}

const KINDS: [Kind; 10] = [
    Kind::ProducerKilled,
    Kind::ConsumerKilled,
    Kind::BrokerKilled,
    Kind::PostgresKilled,
    Kind::MongodbKilled,
    Kind::KafkaCut,
    Kind::PostgresCut,
    Kind::MongodbCut,
    Kind::Restored,
    Kind::Storm,
];

/// What a fault is done to. Two at a time are of different parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Producers,
    Consumers,
    Kafka,
    Postgres,
    Mongodb,
}

impl Kind {
    const fn part(self) -> Part {
        match self {
            Kind::ProducerKilled => Part::Producers,
            Kind::ConsumerKilled | Kind::Storm => Part::Consumers,
            Kind::BrokerKilled | Kind::KafkaCut => Part::Kafka,
            Kind::PostgresKilled | Kind::PostgresCut | Kind::Restored => Part::Postgres,
            Kind::MongodbKilled | Kind::MongodbCut => Part::Mongodb,
        }
    }
}

/// A fault with all that is particular to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`, and a new process after a while.
    ProducerKilled {
        which: usize,
        away: Duration,
    },
    ConsumerKilled {
        which: usize,
        away: Duration,
    },
    BrokerKilled {
        which: usize,
        away: Duration,
    },
    PostgresKilled {
        away: Duration,
    },
    MongodbKilled {
        away: Duration,
    },
    /// The network to brokers, for all workloads.
    KafkaCut {
        which: Vec<usize>,
        way: Way,
        away: Duration,
    },
    /// The network to PostgreSQL, for some of the workloads.
    PostgresCut {
        which: Vec<usize>,
        way: Way,
        away: Duration,
    },
    /// The network to MongoDB, for some of the consumers.
    MongodbCut {
        which: Vec<usize>,
        way: Way,
        away: Duration,
    },
    /// PostgreSQL from the older or the newer one of its base backups; in quiet, with nothing written after.
    Restored {
        older: bool,
        quiet: bool,
        away: Duration,
    },
    /// Consumers leave and come, or stand still until the group has given their partitions away.
    Storm {
        steps: Vec<Step>,
    },
}

/// A step of a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) which: usize,
    pub(crate) how: Leaving,
    pub(crate) away: Duration,
}

/// How a consumer is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    Terminated,
    Killed,
    Frozen,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) number: u64,
    /// A base backup is made before.
    pub(crate) backed_up: bool,
    /// One, or two at the same time.
    pub(crate) faults: Vec<Fault>,
}

impl Round {
    /// The round of this number, the first being 0.
    pub(crate) fn of(seed: u64, number: u64) -> Round {
        let ten = number / KINDS.len() as u64;
        let mut kinds = KINDS;
        kinds.shuffle(&mut rng(seed, Stream::Order, ten));
        let kind = kinds[(number % KINDS.len() as u64) as usize];
        let mut rng = rng(seed, Stream::Round, number);
        let backed_up = rng.random_bool(BACKED_UP);
        let mut faults = vec![Fault::of(kind, &mut rng)];
        // A quiet restoration says what it says only where nothing else makes consumers look at the ledger.
        let is_quiet = matches!(faults[0], Fault::Restored { quiet: true, .. });
        if ten > 0 && !is_quiet && rng.random_bool(DOUBLED) {
            let others: Vec<Kind> = KINDS.into_iter().filter(|other| other.part() != kind.part()).collect();
            if let Some(other) = others.choose(&mut rng) {
                faults.push(Fault::of(*other, &mut rng).in_company());
            }
        }
        Round {
            number,
            backed_up,
            faults,
        }
    }
}

impl Fault {
    fn of(kind: Kind, rng: &mut StdRng) -> Fault {
        let away = Duration::from_millis(rng.random_range(500..6_000));
        match kind {
            Kind::ProducerKilled => Fault::ProducerKilled {
                which: rng.random_range(0..PRODUCERS),
                away,
            },
            Kind::ConsumerKilled => Fault::ConsumerKilled {
                which: rng.random_range(0..CONSUMERS),
                away,
            },
            Kind::BrokerKilled => Fault::BrokerKilled {
                which: rng.random_range(0..BROKERS),
                away,
            },
            Kind::PostgresKilled => Fault::PostgresKilled { away },
            Kind::MongodbKilled => Fault::MongodbKilled { away },
            Kind::KafkaCut => Fault::KafkaCut {
                which: some(BROKERS, rng),
                way: way(rng),
                away,
            },
            Kind::PostgresCut => Fault::PostgresCut {
                which: some(PRODUCERS + CONSUMERS, rng),
                way: way(rng),
                away,
            },
            Kind::MongodbCut => Fault::MongodbCut {
                which: some(CONSUMERS, rng),
                way: way(rng),
                away,
            },
            Kind::Restored => Fault::Restored {
                older: rng.random_bool(0.5),
                quiet: rng.random_bool(0.3),
                away,
            },
            Kind::Storm => Fault::Storm {
                steps: (0..rng.random_range(3..6)).map(|_| Step::of(rng)).collect(),
            },
        }
    }

    /// The same beside another fault.
    fn in_company(self) -> Fault {
        match self {
            Fault::Restored { older, away, .. } => Fault::Restored {
                older,
                quiet: false,
                away,
            },
            other => other,
        }
    }
}

impl Step {
    fn of(rng: &mut StdRng) -> Step {
        let how = match rng.random_range(0..10) {
            0..5 => Leaving::Terminated,
            5..8 => Leaving::Killed,
            _ => Leaving::Frozen,
        };
        // Longer than the session, in the one case: the group must have given its partitions away.
        let away = if how == Leaving::Frozen {
            11_500..13_000
        } else {
            200..2_500
        };
        Step {
            which: rng.random_range(0..CONSUMERS),
            how,
            away: Duration::from_millis(rng.random_range(away)),
        }
    }
}

/// One of them, some of them, or all.
fn some(count: usize, rng: &mut StdRng) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    if rng.random_bool(0.4) {
        return all;
    }
    all.shuffle(rng);
    all.truncate(rng.random_range(1..count));
    all.sort_unstable();
    all
}

fn way(rng: &mut StdRng) -> Way {
    [Way::Broken, Way::Stalled, Way::Deaf][rng.random_range(0..3)]
}

/// Independent random numbers of one seed.
#[derive(Clone, Copy)]
enum Stream {
    Order,
    Round,
}

fn rng(seed: u64, stream: Stream, number: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_be_bytes());
    key[8] = stream as u8;
    key[16..24].copy_from_slice(&number.to_be_bytes());
    StdRng::from_seed(key)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::ProducerKilled { which, away } => write!(f, "producer {which} killed{}", For(away)),
            Fault::ConsumerKilled { which, away } => write!(f, "consumer {which} killed{}", For(away)),
            Fault::BrokerKilled { which, away } => write!(f, "broker {which} killed{}", For(away)),
            Fault::PostgresKilled { away } => write!(f, "PostgreSQL killed{}", For(away)),
            Fault::MongodbKilled { away } => write!(f, "MongoDB killed{}", For(away)),
            Fault::KafkaCut { which, way, away } => write!(f, "brokers {which:?} {}{}", Cut(*way), For(away)),
            Fault::PostgresCut { which, way, away } => {
                write!(f, "PostgreSQL for workloads {which:?} {}{}", Cut(*way), For(away))
            }
            Fault::MongodbCut { which, way, away } => {
                write!(f, "MongoDB for consumers {which:?} {}{}", Cut(*way), For(away))
            }
            Fault::Restored { older, quiet, away } => {
                let which = if *older { "older" } else { "newer" };
                let quiet = if *quiet { ", in quiet" } else { "" };
                write!(f, "PostgreSQL restored from the {which} backup{quiet}{}", For(away))
            }
            Fault::Storm { steps } => {
                f.write_str("storm:")?;
                steps.iter().try_for_each(|Step { which, how, away }| {
                    let how = match how {
                        Leaving::Terminated => "leaves",
                        Leaving::Killed => "killed",
                        Leaving::Frozen => "frozen",
                    };
                    write!(f, " {which} {how}{}", For(away))
                })
            }
        }
    }
}

struct For<'a>(&'a Duration);

impl fmt::Display for For<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " ({:.1} s)", self.0.as_secs_f64())
    }
}

struct Cut(Way);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::Open => "open",
            Way::Broken => "broken",
            Way::Stalled => "stalled",
            Way::Deaf => "without answers",
        })
    }
}
