//! cancel_parked_*: from the cancel request until n parked tasks have ended and been joined.

use crate::harness::{about_to_park, all_parked, report_best, Args, HOUR};
use std::future::{pending, Future};
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{watch, Notify};
use tokio::task::JoinHandle;

/// Tasks that wait for ever, each aborted, then all joined. JoinSet's abort_all takes three times as long.
pub fn abort(args: &Args) {
    report_best(
        args,
        &[
            ("handles", |n| Box::pin(abort_round(n, pending::<()>, false))),
            ("handles_last_first", |n| Box::pin(abort_round(n, pending::<()>, true))),
            ("counter", |n| Box::pin(abort_counter(n, pending::<()>))),
        ],
    );
}

/// As `abort`, but each task sleeps an hour: its end also takes a timer out of the wheel.
pub fn sleep(args: &Args) {
    report_best(
        args,
        &[
            ("sleep_in_task", |n| Box::pin(abort_round(n, || tokio::time::sleep(HOUR), false))),
            ("sleep_boxed", |n| Box::pin(abort_round(n, || Box::pin(tokio::time::sleep(HOUR)), false))),
            ("sleep_counter", |n| Box::pin(abort_counter(n, || tokio::time::sleep(HOUR)))),
            ("sleep_boxed_counter", |n| Box::pin(abort_counter(n, || Box::pin(tokio::time::sleep(HOUR))))),
        ],
    );
}

async fn abort_round<W>(n: usize, wait: fn() -> W, join_last_first: bool) -> Duration
where
    W: Future<Output = ()> + Send + 'static,
{
    let task = |_| {
        tokio::spawn(async move {
            about_to_park();
            wait().await
        })
    };
    let mut tasks: Vec<_> = (0..n).map(task).collect();
    all_parked(n).await;
    let start = Instant::now();
    for task in &tasks {
        task.abort();
    }
    if join_last_first {
        tasks.reverse();
    }
    for task in tasks {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    start.elapsed()
}

/// Counts down when it is dropped, with what the task held; the last one wakes who waits for all of them.
struct Counted(Arc<(AtomicUsize, Notify)>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0 .0.fetch_sub(1, AcqRel) == 1 {
            self.0 .1.notify_one();
        }
    }
}

/// Less than a join: results and panics are lost.
async fn abort_counter<W>(n: usize, wait: fn() -> W) -> Duration
where
    W: Future<Output = ()> + Send + 'static,
{
    let left = Arc::new((AtomicUsize::new(n), Notify::new()));
    let task = |_| {
        let counted = Counted(left.clone());
        tokio::spawn(async move {
            let _counted = counted;
            about_to_park();
            wait().await
        })
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    all_parked(n).await;
    let start = Instant::now();
    for task in tasks {
        task.abort(); // and lets the handle go
    }
    left.1.notified().await;
    start.elapsed()
}

/// Tasks that select between waiting for ever and one shared stop signal (what a CancellationToken is made of); the
/// signal is raised, then all are joined.
pub fn coop(args: &Args) {
    report_best(
        args,
        &[
            ("notify", |n| Box::pin(coop_notify(n))),
            ("notify_counter", |n| Box::pin(coop_counter(n))),
            ("watch", |n| Box::pin(coop_watch(n))),
        ],
    );
}

/// As `coop_notify`, but detached tasks that count down instead of a join.
async fn coop_counter(n: usize) -> Duration {
    let stop = Arc::new(Notify::new());
    let left = Arc::new((AtomicUsize::new(n), Notify::new()));
    for _ in 0..n {
        let (stop, counted) = (stop.clone(), Counted(left.clone()));
        tokio::spawn(async move {
            let _counted = counted;
            let stopped = stop.notified(); // From here on notify_waiters reaches it, polled or not.
            about_to_park();
            tokio::select! { biased; _ = stopped => {}, _ = pending::<()>() => {} }
        });
    }
    all_parked(n).await;
    let start = Instant::now();
    stop.notify_waiters();
    left.1.notified().await;
    start.elapsed()
}

async fn coop_notify(n: usize) -> Duration {
    let stop = Arc::new(Notify::new());
    let task = |_| {
        let stop = stop.clone();
        tokio::spawn(async move {
            let stopped = stop.notified(); // From here on notify_waiters reaches it, polled or not.
            about_to_park();
            tokio::select! { biased; _ = stopped => {}, _ = pending::<()>() => {} }
        })
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    all_parked(n).await;
    let start = Instant::now();
    stop.notify_waiters();
    join(tasks, start).await
}

async fn coop_watch(n: usize) -> Duration {
    let (stop, receiver) = watch::channel(false);
    let task = |_| {
        let mut stopped = receiver.clone();
        tokio::spawn(async move {
            about_to_park();
            tokio::select! { biased; _ = stopped.changed() => {}, _ = pending::<()>() => {} }
        })
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    all_parked(n).await;
    let start = Instant::now();
    stop.send(true).unwrap();
    join(tasks, start).await
}

async fn join(tasks: Vec<JoinHandle<()>>, start: Instant) -> Duration {
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}
