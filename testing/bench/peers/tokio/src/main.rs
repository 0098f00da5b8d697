//! tokio_peer: the Tokio side of the benchmark report. README.md says what each benchmark does.
//!
//! Usage: tokio_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]
//! Prints one line `NAME<TAB>VALUE<TAB>UNIT` for each figure on stdout; where several idioms were tried, the
//! fastest is the figure and each of them is a `#` line on stderr.

mod cancel;
mod channels;
mod counting_alloc;
mod drain;
mod footprint;
mod harness;
mod locks;
mod race;
mod tasks;
mod tcp;
mod timer;

use harness::Args;

#[global_allocator]
static HEAP: counting_alloc::CountingAlloc = counting_alloc::CountingAlloc;

/// A benchmark: its name, the default of `--n`, and what runs it.
type Bench = (&'static str, usize, fn(&Args));

const BENCHES: &[Bench] = &[
    ("spawn_join", 1_000_000, tasks::spawn_join),
    ("skynet", 1_000_000, tasks::skynet),
    ("yield", 1_000_000, tasks::yields),
    ("cancel_parked_abort", 1_000_000, cancel::abort),
    ("cancel_parked_coop", 1_000_000, cancel::coop),
    ("cancel_parked_sleep", 1_000_000, cancel::sleep),
    ("channel_roundtrip", 1_000_000, channels::channel_roundtrip),
    ("mpsc_4p", 10_000_000, channels::mpsc_4p),
    ("try_send", 10_000_000, channels::try_send),
    ("reserve_send", 10_000_000, channels::reserve_send),
    ("oneshot", 1_000_000, channels::oneshot),
    ("oneshot_wake", 1_000_000, channels::oneshot_wake),
    ("broadcast_8", 1_000_000, channels::broadcast_8),
    ("watch", 1_000_000, channels::watch),
    ("notify", 1_000_000, channels::notify),
    ("mutex", 10_000_000, locks::mutex),
    ("mutex_contended", 2_000_000, locks::mutex_contended),
    ("mutex_contended_yield", 1_000_000, locks::mutex_contended_yield),
    ("semaphore", 10_000_000, locks::semaphore),
    ("semaphore_contended", 1_000_000, locks::semaphore_contended),
    ("rwlock", 10_000_000, locks::rwlock),
    ("race", 500_000, race::race),
    ("tcp_roundtrip", 50_000, tcp::roundtrip),
    ("tcp_roundtrip_64c", 192_000, tcp::roundtrip_64c),
    ("tcp_idle_10k", 192_000, tcp::idle_10k),
    ("timer", 1_000_000, timer::insert_cancel),
    ("timers_live", 1_000_000, timer::live),
    ("timer_lateness", 10_000, timer::lateness),
    ("first_drain_step", 200, drain::first_step),
    ("parked_bytes_pending", 100_000, footprint::parked_pending),
    ("parked_bytes_notify", 100_000, footprint::parked_notify),
    ("parked_bytes_sleep", 100_000, footprint::parked_sleep),
    ("idle_cpu", 1, footprint::idle_cpu),
];

fn main() {
    if let Err(problem) = run() {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.0).collect();
        eprintln!("tokio_peer: {problem}");
        eprintln!("usage: tokio_peer --bench=NAME --workers=N [--n=COUNT] [--rounds=R] [--seconds=S]");
        eprintln!("benches: {}", names.join(" "));
        std::process::exit(2);
    }
}

fn run() -> Result<(), String> {
    let mut args = Args { name: "", workers: 0, n: 0, rounds: 5, seconds: 2 };
    let mut chosen = None;
    for arg in std::env::args().skip(1) {
        let (flag, value) = arg.split_once('=').ok_or_else(|| format!("'{arg}' is not --FLAG=VALUE"))?;
        if flag == "--bench" {
            chosen = Some(BENCHES.iter().find(|b| b.0 == value).ok_or_else(|| format!("no benchmark '{value}'"))?);
            continue;
        }
        let number = value.parse().ok().filter(|&v: &usize| v > 0);
        let number = number.ok_or_else(|| format!("'{arg}' needs a positive whole number"))?;
        match flag {
            "--workers" => args.workers = number,
            "--n" => args.n = number,
            "--rounds" => args.rounds = number,
            "--seconds" => args.seconds = number as u64,
            _ => return Err(format!("unknown flag '{flag}'")),
        }
    }
    let (name, default_n, bench) = chosen.ok_or("--bench=NAME is missing")?;
    if args.workers == 0 {
        return Err("--workers=N is missing".into());
    }
    args.name = name;
    if args.n == 0 {
        args.n = *default_n;
    }
    bench(&args);
    Ok(())
}
