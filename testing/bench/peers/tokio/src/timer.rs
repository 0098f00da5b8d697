//! timer, timers_live and timer_lateness: one timer at a time, a million at once, and how late they are.

use crate::harness::{kinds, report_best, report_percentiles, Args, Xorshift, HOUR};
use std::future::{ready, Future};
use std::pin::Pin;
use std::ptr;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::time::{Duration, Instant};
use tokio::task::unconstrained;
use tokio::time::{sleep, sleep_until, Sleep};

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

/// n sleeps of one to two hours, all polled once, then all dropped.
pub fn live(args: &Args) {
    report_best(
        args,
        &[
            ("boxed", |n| Box::pin(live_round(n, Order::Same, OwnWaker, boxed))),
            ("in_place", |n| Box::pin(live_round(n, Order::Same, OwnWaker, in_place))),
            ("in_place_shuffled", |n| Box::pin(live_round(n, Order::Shuffled, OwnWaker, in_place))),
            ("in_place_nobody_woken", |n| Box::pin(live_round(n, Order::Same, ready(nobody()), in_place))),
        ],
    );
}

/// In which order the timers are cancelled.
enum Order {
    Same,
    Shuffled,
}

/// Storage, delays and order are made before the clock starts. An earlier timer stands, as in `after_earlier_timer`.
/// Unconstrained: else Tokio's cooperative budget lets only 128 of the polls reach the wheel.
async fn live_round<S>(
    n: usize,
    order: Order,
    waker: impl Future<Output = Waker>,
    arm: fn(&mut Option<S>, Duration, &mut Context),
) -> Duration {
    let mut random = Xorshift::new();
    let nanos = HOUR.as_nanos() as u64;
    let delays: Vec<_> = (0..n).map(|_| HOUR + Duration::from_nanos(random.below(nanos))).collect();
    let mut cancelled: Vec<_> = (0..n).collect();
    if let Order::Shuffled = order {
        (1..n).rev().for_each(|i| cancelled.swap(i, random.below(i as u64 + 1) as usize));
    }
    let earlier = tokio::spawn(sleep(HOUR / 2));
    sleep(Duration::from_millis(5)).await;
    let mut sleeps: Vec<Option<S>> = (0..n).map(|_| None).collect();
    let waker = waker.await;
    let time = unconstrained(async {
        let mut context = Context::from_waker(&waker);
        let start = Instant::now();
        for (place, &delay) in sleeps.iter_mut().zip(&delays) {
            arm(place, delay, &mut context);
        }
        for i in cancelled {
            sleeps[i] = None;
        }
        start.elapsed()
    })
    .await;
    earlier.abort();
    time
}

fn boxed(place: &mut Option<Pin<Box<Sleep>>>, delay: Duration, context: &mut Context) {
    assert!(place.insert(Box::pin(sleep(delay))).as_mut().poll(context).is_pending());
}

/// All in one array: no allocation for each.
fn in_place(place: &mut Option<Sleep>, delay: Duration, context: &mut Context) {
    // Pinned: the array never grows, and each sleep is dropped where it is.
    let sleep = unsafe { Pin::new_unchecked(place.insert(sleep(delay))) };
    assert!(sleep.poll(context).is_pending());
}

/// Yields the waker of the task that awaits it.
struct OwnWaker;

impl Future for OwnWaker {
    type Output = Waker;

    fn poll(self: Pin<&mut Self>, context: &mut Context) -> Poll<Waker> {
        Poll::Ready(context.waker().clone())
    }
}

/// A waker that wakes nobody, which spares each timer a reference to its task.
fn nobody() -> Waker {
    const NOBODY: RawWakerVTable = RawWakerVTable::new(|_| RawWaker::new(ptr::null(), &NOBODY), |_| {}, |_| {}, |_| {});
    unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &NOBODY)) }
}

/// n tasks, each in a sleep until an instant of its own within n times 100 µs; how long after it each goes on.
pub fn lateness(args: &Args) {
    report_percentiles(
        args,
        kinds(args.workers),
        &[("sleep_until", |n| Box::pin(sleep_all(n, false))), ("sleep_until_boxed", |n| Box::pin(sleep_all(n, true)))],
    );
}

/// All have been spawned and sleep when that time begins.
const LEAD: Duration = Duration::from_millis(50);

async fn sleep_all(n: usize, boxed: bool) -> Vec<Duration> {
    let mut random = Xorshift::new();
    let begin = tokio::time::Instant::now() + LEAD;
    let task = |_| {
        let due = begin + Duration::from_nanos(random.below(n as u64 * 100_000));
        tokio::spawn(async move {
            if boxed {
                Box::pin(sleep_until(due)).await;
            } else {
                sleep_until(due).await;
            }
            let now = tokio::time::Instant::now();
            assert!(now >= due, "a timer was early");
            now - due
        })
    };
    let tasks: Vec<_> = (0..n).map(task).collect();
    let mut late = Vec::with_capacity(n);
    for task in tasks {
        late.push(task.await.unwrap());
    }
    late
}
