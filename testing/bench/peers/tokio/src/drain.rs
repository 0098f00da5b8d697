//! first_drain_step: a runtime has more to do than it can; how soon does a task that is told to end run again?

use crate::harness::{kinds, report_percentiles, Args, Kind, Xorshift};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{mpsc, Arc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::{yield_now, JoinHandle};

const BUSY_TASKS: usize = 1000;
const SPIN: Duration = Duration::from_micros(1);

/// One sample: how to tell the task to end, and the instant of its first step after that.
type Parked = (Box<dyn FnOnce() + Send>, mpsc::Receiver<Instant>);

pub fn first_step(args: &Args) {
    // With few samples, since each takes long: what one gets who does not know of the interval.
    let default = Args { name: "first_drain_step_default", n: args.n.min(20), rounds: 1, ..*args };
    report_percentiles(&default, &kinds(args.workers)[..1], &[("notify", |n| Box::pin(round(n, notified)))]);
    let tuned: [Kind; 2] = [(", interval 1", multi_thread), (", current_thread, interval 1", |_| current_thread())];
    report_percentiles(
        args,
        &tuned[..kinds(args.workers).len()],
        &[("notify", |n| Box::pin(round(n, notified))), ("abort", |n| Box::pin(round(n, aborted)))],
    );
}

/// Looks for what came from outside at each step and not at each 61st, as one would who cares for the latency of that.
fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).global_queue_interval(1).enable_all().build().unwrap()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().global_queue_interval(1).enable_all().build().unwrap()
}

fn notified() -> Parked {
    let (stop, (send, receive)) = (Arc::new(Notify::new()), mpsc::channel());
    let stopped = stop.clone();
    tokio::spawn(async move {
        stopped.notified().await;
        send.send(Instant::now()).unwrap();
    });
    (Box::new(move || stop.notify_one()), receive)
}

struct OnDrop(mpsc::Sender<Instant>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(Instant::now());
    }
}

fn aborted() -> Parked {
    let (send, receive) = mpsc::channel();
    let guard = OnDrop(send);
    let task: JoinHandle<()> = tokio::spawn(async move {
        let _guard = guard;
        pending().await
    });
    (Box::new(move || task.abort()), receive)
}

async fn round(n: usize, park: fn() -> Parked) -> Vec<Duration> {
    let parked: Vec<_> = (0..n).map(|_| park()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let begun = Arc::new(AtomicUsize::new(0));
    let busy = |_| {
        let (stop, begun) = (stop.clone(), begun.clone());
        tokio::spawn(async move {
            begun.fetch_add(1, Relaxed);
            while !stop.load(Relaxed) {
                let start = Instant::now();
                while start.elapsed() < SPIN {}
                yield_now().await;
            }
        })
    };
    let busy: Vec<_> = (0..BUSY_TASKS).map(busy).collect();
    let outside = thread::spawn(move || {
        let mut random = Xorshift::new();
        while begun.load(Relaxed) < BUSY_TASKS {
            thread::sleep(Duration::from_millis(1));
        }
        let samples = parked.into_iter().map(|(cancel, first_step)| {
            thread::sleep(Duration::from_nanos(100_000 + random.below(1_000_000)));
            let start = Instant::now();
            cancel();
            first_step.recv().unwrap() - start
        });
        let samples = samples.collect();
        stop.store(true, Relaxed);
        samples
    });
    for task in busy {
        task.await.unwrap();
    }
    outside.join().unwrap()
}
