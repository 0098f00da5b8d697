//! spawn_join, skynet and yield: the scheduler alone.

use crate::harness::{report_best, shared_by, Args};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// One task spawns n tasks that do nothing, then waits for all of them.
pub fn spawn_join(args: &Args) {
    report_best(
        args,
        &[
            ("handles", |n| Box::pin(spawn_handles(n, false))),
            ("handles_last_first", |n| Box::pin(spawn_handles(n, true))),
            ("join_set", |n| Box::pin(spawn_join_set(n))),
            ("counter", |n| Box::pin(spawn_counter(n))),
        ],
    );
}

/// Waiting for the last one first wakes the spawner less often; which order wins depends on the number of workers.
async fn spawn_handles(n: usize, last_first: bool) -> Duration {
    let start = Instant::now();
    let mut handles: Vec<_> = (0..n).map(|_| tokio::spawn(async {})).collect();
    if last_first {
        handles.reverse();
    }
    for handle in handles {
        handle.await.unwrap();
    }
    start.elapsed()
}

async fn spawn_join_set(n: usize) -> Duration {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..n {
        tasks.spawn(async {});
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    start.elapsed()
}

/// Detached tasks that count down; the last one wakes the spawner. Less than a join: results and panics are lost.
async fn spawn_counter(n: usize) -> Duration {
    let start = Instant::now();
    let left = Arc::new((AtomicUsize::new(n), Notify::new()));
    for _ in 0..n {
        let left = left.clone();
        tokio::spawn(async move {
            if left.0.fetch_sub(1, AcqRel) == 1 {
                left.1.notify_one();
            }
        });
    }
    left.1.notified().await;
    start.elapsed()
}

/// A tree of tasks with ten children each and n leaves (n is rounded down to a power of ten); a leaf returns its
/// number, a parent the sum of its children. The time is for each leaf.
pub fn skynet(args: &Args) {
    let n = std::iter::successors(Some(1), |n| Some(n * 10)).take_while(|&n| n <= args.n).last().unwrap();
    report_best(&Args { n, ..*args }, &[("handles_last_first", |n| Box::pin(skynet_round(n)))]);
}

async fn skynet_round(n: usize) -> Duration {
    let start = Instant::now();
    let sum = spawn_node(0, n).await.unwrap();
    let time = start.elapsed();
    assert_eq!(sum, n * (n - 1) / 2);
    time
}

/// Leaves are a task type of their own, smaller than a node. Naming the return type also lets `node` recurse without
/// a `Box` for each task, the usual and slower way.
fn spawn_node(first: usize, leaves: usize) -> JoinHandle<usize> {
    if leaves == 1 {
        tokio::spawn(async move { first })
    } else {
        tokio::spawn(node(first, leaves))
    }
}

async fn node(first: usize, leaves: usize) -> usize {
    let each = leaves / 10;
    let children: [_; 10] = std::array::from_fn(|i| spawn_node(first + i * each, each));
    let mut sum = 0;
    for child in children.into_iter().rev() {
        // The last child runs first (the LIFO slot), so in this order most awaits find their task ended.
        sum += child.await.unwrap();
    }
    sum
}

const YIELDING_TASKS: usize = 100;

/// 100 tasks yield n/100 times each; the wall time divided by all the yields.
pub fn yields(args: &Args) {
    report_best(
        &shared_by(YIELDING_TASKS, args),
        &[
            ("yield_now", |n| Box::pin(yield_round(n, tokio::task::yield_now))),
            ("wake_self", |n| Box::pin(yield_round(n, WakeSelf::new))),
        ],
    );
}

/// What people write without `yield_now`: wakes itself and returns, so it goes to the end of the run queue at once.
pub struct WakeSelf(bool);

impl WakeSelf {
    pub fn new() -> Self {
        WakeSelf(false)
    }
}

impl Future for WakeSelf {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

async fn yield_round<Y: Future<Output = ()> + Send + 'static>(n: usize, yield_once: fn() -> Y) -> Duration {
    let start = Instant::now();
    let task = move |_| {
        tokio::spawn(async move {
            for _ in 0..n / YIELDING_TASKS {
                yield_once().await;
            }
        })
    };
    let tasks: Vec<_> = (0..YIELDING_TASKS).map(task).collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}
