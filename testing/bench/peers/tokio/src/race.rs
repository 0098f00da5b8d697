//! race: the first of two tasks wins; the other one has ended before the next race.

use crate::harness::{best, report_best, Args};
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::select;
use tokio::task::JoinSet;

/// One branch ends at once, the other waits for ever; it is aborted and joined. `biased` spares `select!` a random
/// number, which is too little to show.
pub fn race(args: &Args) {
    // For comparison only, since the loser is no task: nothing runs beside the other, and nothing is drained.
    best(args, &[("unspawned", |n| Box::pin(unspawned(n)))]);
    report_best(
        args,
        &[
            ("handles", |n| Box::pin(handles::<false>(n))),
            ("handles_loser_first", |n| Box::pin(handles::<true>(n))),
            ("join_set_loser_first", |n| Box::pin(join_set(n))),
        ],
    );
}

async fn unspawned(n: usize) -> Duration {
    let start = Instant::now();
    for i in 0..n {
        let won = select! {
            biased;
            won = async { i } => won,
            won = pending() => won,
        };
        assert_eq!(won, i);
    }
    start.elapsed()
}

/// The order counts, since a worker begins with the task spawned last: if that is the winner, the loser is mostly
/// aborted before it has begun.
async fn handles<const LOSER_FIRST: bool>(n: usize) -> Duration {
    let start = Instant::now();
    for i in 0..n {
        let (mut one, mut other) = if LOSER_FIRST {
            let waiting = tokio::spawn(pending());
            (tokio::spawn(async move { i }), waiting)
        } else {
            (tokio::spawn(async move { i }), tokio::spawn(pending()))
        };
        let (won, loser) = select! {
            biased;
            won = &mut one => (won, other),
            won = &mut other => (won, one),
        };
        loser.abort();
        assert!(loser.await.unwrap_err().is_cancelled());
        assert_eq!(won.unwrap(), i);
    }
    start.elapsed()
}

/// One set for all races: a set of its own for each takes longer.
async fn join_set(n: usize) -> Duration {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for i in 0..n {
        tasks.spawn(pending());
        tasks.spawn(async move { i });
        let won = tasks.join_next().await.unwrap();
        tasks.shutdown().await; // abort_all, then joins.
        assert_eq!(won.unwrap(), i);
    }
    start.elapsed()
}
