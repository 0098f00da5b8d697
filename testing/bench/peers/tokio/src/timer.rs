//! timer: insert and cancel.

use crate::harness::{report_best, Args, HOUR};
use std::future::ready;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// One task creates a two-hour sleep, polls it once (which puts it into the wheel) and drops it, n times.
pub fn insert_cancel(args: &Args) {
    report_best(
        args,
        &[
            ("earlier_timer_waits", |n| Box::pin(after_earlier_timer(n))),
            ("no_other_timer", |n| Box::pin(insert_cancel_round(n))),
        ],
    );
}

/// With an earlier timer standing, as in most servers, Tokio need not wake its driver (a system call) for each insert.
async fn after_earlier_timer(n: usize) -> Duration {
    let earlier = tokio::spawn(sleep(HOUR));
    sleep(Duration::from_millis(5)).await; // The driver parks and learns when it has to wake next.
    let time = insert_cancel_round(n).await;
    earlier.abort();
    time
}

async fn insert_cancel_round(n: usize) -> Duration {
    let start = Instant::now();
    for _ in 0..n {
        tokio::select! { biased; _ = sleep(2 * HOUR) => unreachable!(), _ = ready(()) => {} }
    }
    start.elapsed()
}
