//! The operator's drain against KEDA with its best threshold, over many simulated loads; and its policies with everything
//! that can be wrong.
//!
//! Each seed is one load with one kind of pods. KEDA is given every threshold of a grid, and of those that cost no more
//! than a tenth above the operator's pod-seconds the best one counts, chosen with hindsight for each load anew.

use anyhow::Result;
use benches::figures::{Bound, Figures};
use clap::Parser;
use operator::simulate::contest::{Kind, Round, constant_day, round};
use operator::simulate::faults::{Fault, Verdict, Wrong, suffer};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Loads of a whole run, and of a quick one.
const SEEDS: u64 = 10_000;
const QUICK: u64 = 300;
/// Loads of each fault.
const SUFFERED: u64 = 1_000;
const QUICK_SUFFERED: u64 = 20;
/// Constant days of a whole run, and of a quick one.
const DAYS: u64 = 20;
const QUICK_DAYS: u64 = 1;
/// Of one step: up when it comes, and down where that was too much.
const MOST_REVERSALS: usize = 1;
/// A constant day begins with the least replicas: until then, its load is a step.
const ARRIVED: Duration = Duration::from_secs(600);

#[derive(Debug, Parser)]
struct Arguments {
    /// A few loads only
    #[arg(long)]
    quick: bool,
    /// Loads against KEDA
    #[arg(long)]
    loads: Option<u64>,
    /// Loads of each fault
    #[arg(long)]
    suffered: Option<u64>,
    /// First seed: another one gives other loads
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Show what became of one load, in place of all
    #[arg(long)]
    show: Option<u64>,
}

/// Sums over the loads of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    rounds: u64,
    own_behind: f64,
    rival_behind: f64,
    own_pods: f64,
    rival_pods: f64,
    steps: u64,
    single: u64,
    most_reversals: usize,
    own_reversals: usize,
    rival_reversals: usize,
    above_partitions: u64,
    above_need: u64,
}

impl Sums {
    fn add(&mut self, round: &Round) {
        self.rounds += 1;
        self.own_behind += round.own.behind.as_secs_f64();
        self.rival_behind += round.rival.behind.as_secs_f64();
        self.own_pods += round.own.pod_seconds;
        self.rival_pods += round.rival.pod_seconds;
        self.own_reversals += round.own.reversals();
        self.rival_reversals += round.rival.reversals();
        if round.kind == Kind::Step {
            self.steps += 1;
            self.single += u64::from(round.climbs() == 1);
            self.most_reversals = self.most_reversals.max(round.reversals_of_a_step());
        }
        self.above_partitions += u64::from(round.own.most > round.partitions);
        self.above_need += u64::from(round.own.most > round.need);
    }

    fn and(mut self, other: &Sums) -> Sums {
        self.rounds += other.rounds;
        self.own_behind += other.own_behind;
        self.rival_behind += other.rival_behind;
        self.own_pods += other.own_pods;
        self.rival_pods += other.rival_pods;
        self.steps += other.steps;
        self.single += other.single;
        self.most_reversals = self.most_reversals.max(other.most_reversals);
        self.own_reversals += other.own_reversals;
        self.rival_reversals += other.rival_reversals;
        self.above_partitions += other.above_partitions;
        self.above_need += other.above_need;
        self
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.show {
        show(&round(seed));
        return Ok(());
    }
    let (seeds, days, suffered) = if arguments.quick {
        (QUICK, QUICK_DAYS, QUICK_SUFFERED)
    } else {
        (SEEDS, DAYS, SUFFERED)
    };
    let (seeds, suffered) = (
        arguments.loads.unwrap_or(seeds).max(1),
        arguments.suffered.unwrap_or(suffered),
    );
    let by_kind = all_rounds(arguments.seed, seeds);
    eprintln!("kind   rounds  behind, s: ours  theirs  pod-seconds: ours  theirs  reversals: ours  theirs");
    for (kind, sums) in &by_kind {
        let each = |sum: f64| sum / sums.rounds as f64;
        eprintln!(
            "{kind:<6?} {:>6} {:>16.1} {:>7.1} {:>18.0} {:>7.0} {:>16.2} {:>7.2}",
            sums.rounds,
            each(sums.own_behind),
            each(sums.rival_behind),
            each(sums.own_pods),
            each(sums.rival_pods),
            each(sums.own_reversals as f64),
            each(sums.rival_reversals as f64),
        );
    }
    let all = by_kind.values().fold(Sums::default(), |all, sums| all.and(sums));
    let each = |sum: f64| sum / all.rounds as f64;
    let mut figures = Figures::new("scale-sim");
    figures.compare_costs(
        "drain time, s a load",
        each(all.own_behind),
        each(all.rival_behind),
        1.0 / 0.75,
        1.0 / 0.6,
    );
    figures.compare_costs(
        "pod-seconds a load",
        each(all.own_pods),
        each(all.rival_pods),
        1.0 / 1.1,
        1.0,
    );
    let part = |count: u64| count as f64 / all.steps.max(1) as f64;
    figures.add(
        "steps answered by one patch",
        part(all.single),
        "of steps",
        Bound::AtLeast(0.9),
    );
    figures.add(
        "reversals, worst step",
        all.most_reversals as f64,
        "reversals",
        Bound::AtMost(MOST_REVERSALS as f64),
    );
    figures.add(
        "loads above the partitions",
        all.above_partitions as f64,
        "loads",
        Bound::AtMost(0.0),
    );
    figures.add(
        "loads above what is needed",
        all.above_need as f64,
        "loads",
        Bound::AtMost(0.0),
    );
    let of_days = on_all_cores(days, |day| {
        let day = constant_day(arguments.seed + day);
        (day.reversals(), day.reversals_since(ARRIVED))
    });
    let beginnings = of_days.iter().map(|(all, later)| all - later);
    figures.add(
        "reversals, worst beginning of a day",
        beginnings.max().unwrap_or(0) as f64,
        "reversals",
        Bound::AtMost(1.0),
    );
    figures.add(
        "reversals in constant days",
        of_days.iter().map(|(_, later)| *later).sum::<usize>() as f64,
        "reversals",
        Bound::AtMost(0.0),
    );
    let (mut acts, mut on_unknown, mut others) = (0, 0, 0);
    for fault in Fault::ALL {
        let verdicts = on_all_cores(suffered, |seed| suffer(fault, arguments.seed + seed));
        acts += verdicts.iter().map(|verdict| verdict.acts).sum::<usize>();
        let all = || verdicts.iter().flat_map(|verdict| &verdict.wrong);
        on_unknown += all().filter(|wrong| matches!(wrong, Wrong::InOnUnknown(_))).count();
        others += all().filter(|wrong| !matches!(wrong, Wrong::InOnUnknown(_))).count();
        let is_wrong = |verdict: &Verdict| !verdict.wrong.is_empty();
        if let Some(seed) = verdicts.iter().position(is_wrong) {
            eprintln!(
                "{fault:?}: {} of {suffered} loads went wrong, first seed {}: {:?}",
                verdicts.iter().filter(|one| is_wrong(one)).count(),
                arguments.seed + seed as u64,
                verdicts[seed].wrong
            );
        }
    }
    let of = format!(
        "{} faults with {suffered} loads each: {acts} actions",
        Fault::ALL.len() - 1
    );
    eprintln!("{of}, {on_unknown} gave pods up on what is not known, {others} others were wrong");
    figures.add(
        "pods given up on unknown lag",
        f64::from(on_unknown as u32),
        "actions",
        Bound::AtMost(0.0),
    );
    figures.add(
        "other actions the wrong way",
        f64::from(others as u32),
        "actions",
        Bound::AtMost(0.0),
    );
    figures.show()
}

fn show(round: &Round) {
    println!("{:?}, {} replicas are needed", round.kind, round.need);
    for (name, outcome) in [("ours", &round.own), ("theirs", &round.rival)] {
        println!(
            "{name}: behind for {:?}, {:.0} pod-seconds, {} reversals",
            outcome.behind,
            outcome.pod_seconds,
            outcome.reversals()
        );
        for change in &outcome.changes {
            println!("  {:>8.2} s: {} → {}", change.at.as_secs_f64(), change.from, change.to);
        }
    }
}

/// Rounds of all seeds, by kind.
fn all_rounds(first: u64, seeds: u64) -> BTreeMap<Kind, Sums> {
    let done = AtomicU64::new(0);
    let began = Instant::now();
    let of_seeds = on_all_cores(seeds, |seed| {
        let round = round(first + seed);
        if round.own.most > round.need {
            eprintln!(
                "seed {}: {} replicas where {} are needed",
                first + seed,
                round.own.most,
                round.need
            );
        }
        if round.kind == Kind::Step && round.reversals_of_a_step() > MOST_REVERSALS {
            eprintln!(
                "seed {}: {} reversals of a step",
                first + seed,
                round.reversals_of_a_step()
            );
        }
        let mut sums = Sums::default();
        sums.add(&round);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of((seeds / 10).max(1)) {
            let took = began.elapsed().as_secs_f64();
            let left = took * (seeds - done) as f64 / done as f64;
            eprintln!("{done} of {seeds} loads after {took:.0} s, {left:.0} s to go");
        }
        (round.kind, sums)
    });
    let mut all = BTreeMap::<Kind, Sums>::new();
    for (kind, sums) in of_seeds {
        let sum = all.entry(kind).or_default();
        *sum = sum.and(&sums);
    }
    all
}

/// What `work` makes of 0 to `count`, in this order, on all cores.
fn on_all_cores<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let some = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        let own = numbers.take_while(|number| *number < count);
        own.map(|number| (number, work(number))).collect::<Vec<_>>()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(some)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .flatten()
            .collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, made)| made).collect()
}
