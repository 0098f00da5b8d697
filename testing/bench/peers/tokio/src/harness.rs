//! What every timed benchmark shares: the runtime, warm-up and rounds, best-of-several-idioms, the output line.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{unconstrained, Unconstrained};

pub struct Args {
    pub name: &'static str,
    pub workers: usize,
    pub n: usize,
    pub rounds: usize,
    pub seconds: u64,
}

pub const HOUR: Duration = Duration::from_secs(3600);

/// One round of a benchmark over `n` things; yields the time that its measured part took.
pub type Round = Pin<Box<dyn Future<Output = Duration> + Send>>;

/// One idiom for a benchmark: its name and what makes a round of `n`.
pub type Idiom = (&'static str, fn(usize) -> Round);

pub fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("cannot start a Tokio runtime")
}

/// Tokio's scheduler for one thread, which needs no atomic queues. It runs on the main thread, inside `block_on`.
fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("cannot start a Tokio runtime")
}

/// A kind of runtime: what it adds to an idiom's name, and what makes it.
pub type Kind = (&'static str, fn(usize) -> Runtime);

/// Those that a benchmark tries: with one worker both.
pub fn kinds(workers: usize) -> &'static [Kind] {
    const KINDS: [Kind; 2] = [("", runtime), (", current_thread", |_| current_thread())];
    &KINDS[..if workers > 1 { 1 } else { 2 }]
}

/// Runs each idiom for one discarded round and `rounds` measured ones, on a runtime of its own, each round as a task
/// on a worker (`block_on` alone would run it on the main thread); with one worker on both kinds of runtime. Returns
/// the least time of the best idiom.
pub fn best(args: &Args, idioms: &[Idiom]) -> Duration {
    let measure = |&(name, round): &Idiom, &(kind, make): &Kind| {
        let rt = make(args.workers);
        let once = |_| rt.block_on(rt.spawn(round(args.n))).expect("a benchmark round panicked");
        let least = (0..=args.rounds).map(once).skip(1).min().unwrap();
        eprintln!("# {} {name}{kind}: {:.1} ns/op", args.name, ns_per(least, args.n));
        least
    };
    let measure_all = |idiom| kinds(args.workers).iter().map(|kind| measure(idiom, kind)).min().unwrap();
    idioms.iter().map(measure_all).min().unwrap()
}

/// One round of a benchmark of latencies: yields all of them.
pub type Samples = Pin<Box<dyn Future<Output = Vec<Duration>> + Send>>;

/// As `Idiom`, for latencies.
pub type Sampler = (&'static str, fn(usize) -> Samples);

/// As `best`, for latencies: prints `NAME_p50` and `NAME_p99` in microseconds, each the least over all rounds, idioms and
/// kinds of runtime.
pub fn report_percentiles(args: &Args, kinds: &[Kind], idioms: &[Sampler]) {
    let mut least = [f64::MAX; 2];
    for &(kind, make) in kinds {
        for &(idiom, round) in idioms {
            let rt = make(args.workers);
            let mut of_idiom = [f64::MAX; 2];
            for i in 0..=args.rounds {
                let mut samples = rt.block_on(rt.spawn(round(args.n))).expect("a benchmark round panicked");
                samples.sort_unstable();
                if i > 0 {
                    of_idiom = smaller(of_idiom, [percentile_us(&samples, 50), percentile_us(&samples, 99)]);
                }
            }
            eprintln!("# {} {idiom}{kind}: p50 {:.2} us, p99 {:.2} us", args.name, of_idiom[0], of_idiom[1]);
            least = smaller(least, of_idiom);
        }
    }
    print(&format!("{}_p50", args.name), least[0], "us");
    print(&format!("{}_p99", args.name), least[1], "us");
}

fn smaller(one: [f64; 2], other: [f64; 2]) -> [f64; 2] {
    [one[0].min(other[0]), one[1].min(other[1])]
}

/// The least of the `sorted` that at least `percent` of a hundred do not exceed.
fn percentile_us(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() * percent + 99) / 100 - 1].as_nanos() as f64 / 1000.0
}

/// The same pseudo-random numbers in every run and in every program of the report: Marsaglia's xorshift64.
pub struct Xorshift(u64);

impl Xorshift {
    pub fn new() -> Self {
        Xorshift(88172645463325252)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

pub fn ns_per(time: Duration, ops: usize) -> f64 {
    time.as_nanos() as f64 / ops as f64
}

pub fn print(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.2}\t{unit}");
}

/// `best`, printed as nanoseconds for each of the `n` things.
pub fn report_best(args: &Args, idioms: &[Idiom]) {
    print(args.name, ns_per(best(args, idioms), args.n), "ns/op");
}

/// What can be spawned and has nothing to say at its end.
pub trait Task: Future<Output = ()> + Send + 'static {}

impl<F: Future<Output = ()> + Send + 'static> Task for F {}

/// A round of two tasks; the time covers spawning them and joining them.
pub async fn together((one, other): (impl Task, impl Task)) -> Duration {
    let start = Instant::now();
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    one.await.unwrap();
    other.await.unwrap();
    start.elapsed()
}

/// Tokio makes a task yield after 128 operations (its cooperative budget); these two are spared that.
pub fn both_unconstrained<A: Task, B: Task>((one, other): (A, B)) -> (Unconstrained<A>, Unconstrained<B>) {
    (unconstrained(one), unconstrained(other))
}

/// `n`, made a multiple of `tasks` that share it, so that each does as much.
pub fn shared_by(tasks: usize, args: &Args) -> Args {
    Args { n: args.n.max(tasks) / tasks * tasks, ..*args }
}

/// Tasks count themselves here just before they park. A static, so that counting adds nothing to a task's size.
static PARKING: AtomicUsize = AtomicUsize::new(0);

pub fn about_to_park() {
    PARKING.fetch_add(1, Relaxed);
}

/// Waits until `n` tasks said that they are about to park, gives the last ones time to, and starts the count anew.
pub async fn all_parked(n: usize) {
    while PARKING.load(Relaxed) < n {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    PARKING.store(0, Relaxed);
}
