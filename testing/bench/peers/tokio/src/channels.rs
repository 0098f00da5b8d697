//! Channels: what one task hands to another, be it a value or (`notify`) only the word to go on.

use crate::harness::{both_unconstrained, report_best, shared_by, together, Args, Task};
use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch, Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::unconstrained;

/// Of the channels that may hold more than one value.
const CAPACITY: usize = 64;

/// Two tasks and two channels: a number goes there and comes back, n times.
pub fn channel_roundtrip(args: &Args) {
    report_best(
        args,
        &[
            ("capacity_1", |n| Box::pin(together(roundtrip::<false>(n, 1)))),
            ("capacity_16", |n| Box::pin(together(roundtrip::<false>(n, 16)))),
            ("unconstrained", |n| Box::pin(together(both_unconstrained(roundtrip::<false>(n, 1))))),
            ("try_first", |n| Box::pin(together(roundtrip::<true>(n, 1)))),
            ("try_first_unconstrained", |n| Box::pin(together(both_unconstrained(roundtrip::<true>(n, 1))))),
        ],
    );
}

fn roundtrip<const TRY_FIRST: bool>(n: usize, capacity: usize) -> (impl Task, impl Task) {
    let (ask, mut asked) = mpsc::channel(capacity);
    let (answer, mut answered) = mpsc::channel(capacity);
    let client = async move {
        for i in 0..n as u64 {
            send::<_, TRY_FIRST>(&ask, i).await;
            assert_eq!(answered.recv().await, Some(i));
        }
    };
    let server = async move {
        while let Some(i) = asked.recv().await {
            send::<_, TRY_FIRST>(&answer, i).await;
        }
    };
    (client, server)
}

async fn send<T: Debug, const TRY_FIRST: bool>(sender: &mpsc::Sender<T>, mut value: T) {
    if TRY_FIRST {
        match sender.try_send(value) {
            Ok(()) => return,
            Err(TrySendError::Full(back)) => value = back,
            Err(TrySendError::Closed(_)) => unreachable!("a receiver left early"),
        }
    }
    sender.send(value).await.unwrap();
}

const PRODUCERS: usize = 4;

/// Four tasks send n/4 numbers each into one channel; one task takes them all.
pub fn mpsc_4p(args: &Args) {
    report_best(
        &shared_by(PRODUCERS, args),
        &[
            ("send", |n| Box::pin(four_producers(n, produce_send, consume))),
            ("reserve", |n| Box::pin(four_producers(n, produce_reserve::<false>, consume))),
            ("reserve_drain", |n| Box::pin(four_producers(n, produce_reserve::<false>, consume_drain))),
            ("try_first", |n| Box::pin(four_producers(n, produce_reserve::<true>, consume))),
            ("try_first_drain", |n| Box::pin(four_producers(n, produce_reserve::<true>, consume_drain))),
        ],
    );
}

async fn four_producers<P: Task, C: Future<Output = u64> + Send + 'static>(
    n: usize,
    produce: fn(mpsc::Sender<u64>, u64) -> P,
    consume: fn(mpsc::Receiver<u64>) -> C,
) -> Duration {
    let each = (n / PRODUCERS) as u64;
    let start = Instant::now();
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let consumer = tokio::spawn(consume(receiver));
    let producers = [(); PRODUCERS].map(|()| tokio::spawn(produce(sender.clone(), each)));
    drop(sender); // The consumer ends after the last producer.
    for producer in producers {
        producer.await.unwrap();
    }
    let sum = consumer.await.unwrap();
    let time = start.elapsed();
    assert_eq!(sum, each * (each - 1) / 2 * PRODUCERS as u64);
    time
}

async fn produce_send(sender: mpsc::Sender<u64>, count: u64) {
    for i in 0..count {
        sender.send(i).await.unwrap();
    }
}

async fn produce_reserve<const TRY_FIRST: bool>(sender: mpsc::Sender<u64>, count: u64) {
    for i in 0..count {
        reserve::<TRY_FIRST>(&sender).await.send(i);
    }
}

async fn reserve<const TRY_FIRST: bool>(sender: &mpsc::Sender<u64>) -> mpsc::Permit<'_, u64> {
    if TRY_FIRST {
        if let Ok(permit) = sender.try_reserve() {
            return permit;
        }
    }
    sender.reserve().await.unwrap()
}

async fn consume(mut receiver: mpsc::Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(i) = receiver.recv().await {
        sum += i;
    }
    sum
}

/// Takes all that is there before it waits again: what a Tokio that has `recv_many` (1.24 has not) does in one call.
async fn consume_drain(mut receiver: mpsc::Receiver<u64>) -> u64 {
    let mut sum = 0;
    while let Some(i) = receiver.recv().await {
        sum += i;
        while let Ok(i) = receiver.try_recv() {
            sum += i;
        }
    }
    sum
}

/// One task sends to itself, by the calls that never wait.
pub fn try_send(args: &Args) {
    report_best(args, &[("try_send", |n| Box::pin(try_send_alone(n)))]);
}

async fn try_send_alone(n: usize) -> Duration {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let start = Instant::now();
    for i in 0..n as u64 {
        sender.try_send(i).unwrap();
        assert_eq!(receiver.try_recv(), Ok(i));
    }
    start.elapsed()
}

/// One task sends to itself, by the calls that might wait. `send` in place of `reserve` takes as long.
pub fn reserve_send(args: &Args) {
    report_best(
        args,
        &[
            ("reserve", |n| Box::pin(reserve_send_alone::<false>(n))),
            ("unconstrained", |n| Box::pin(unconstrained(reserve_send_alone::<false>(n)))),
            ("try_first", |n| Box::pin(reserve_send_alone::<true>(n))),
        ],
    );
}

async fn reserve_send_alone<const TRY_FIRST: bool>(n: usize) -> Duration {
    let (sender, mut receiver) = mpsc::channel(CAPACITY);
    let start = Instant::now();
    for i in 0..n as u64 {
        reserve::<TRY_FIRST>(&sender).await.send(i);
        assert_eq!(receive::<TRY_FIRST>(&mut receiver).await, Some(i));
    }
    start.elapsed()
}

async fn receive<const TRY_FIRST: bool>(receiver: &mut mpsc::Receiver<u64>) -> Option<u64> {
    if TRY_FIRST {
        if let Ok(value) = receiver.try_recv() {
            return Some(value);
        }
    }
    receiver.recv().await
}

/// One task makes a channel for one value, uses it and throws it away; the value is there before it is waited for.
pub fn oneshot(args: &Args) {
    report_best(
        args,
        &[
            ("await", |n| Box::pin(oneshot_alone::<false>(n))),
            ("unconstrained", |n| Box::pin(unconstrained(oneshot_alone::<false>(n)))),
            ("try_first", |n| Box::pin(oneshot_alone::<true>(n))),
        ],
    );
}

async fn oneshot_alone<const TRY_FIRST: bool>(n: usize) -> Duration {
    let start = Instant::now();
    for i in 0..n as u64 {
        let (sender, mut receiver) = oneshot::channel();
        sender.send(i).unwrap();
        let tried = if TRY_FIRST { receiver.try_recv().ok() } else { None };
        let received = match tried {
            Some(value) => value,
            None => receiver.await.unwrap(),
        };
        assert_eq!(received, i);
    }
    start.elapsed()
}

/// A client task and a server task; each request brings the oneshot for its answer with it.
pub fn oneshot_wake(args: &Args) {
    report_best(
        args,
        &[
            ("capacity_1", |n| Box::pin(together(session::<false>(n)))),
            ("unconstrained", |n| Box::pin(together(both_unconstrained(session::<false>(n))))),
            ("try_first", |n| Box::pin(together(session::<true>(n)))),
            ("try_first_unconstrained", |n| Box::pin(together(both_unconstrained(session::<true>(n))))),
        ],
    );
}

fn session<const TRY_FIRST: bool>(n: usize) -> (impl Task, impl Task) {
    let (ask, mut asked) = mpsc::channel(1);
    let client = async move {
        for i in 0..n as u64 {
            let (answer, answered) = oneshot::channel();
            send::<_, TRY_FIRST>(&ask, (i, answer)).await;
            assert_eq!(answered.await, Ok(i));
        }
    };
    let server = async move {
        while let Some((i, answer)) = asked.recv().await {
            answer.send(i).unwrap();
        }
    };
    (client, server)
}

const RECEIVERS: usize = 8;

/// One task sends n numbers, eight tasks receive all of them. A Tokio sender does not wait for slow receivers but
/// overwrites what they have not read, so one that must not lose anything keeps within a window itself.
pub fn broadcast_8(args: &Args) {
    report_best(
        args,
        &[
            ("window_by_halves", |n| Box::pin(broadcast_by_halves(n))),
            ("permit_in_message", |n| Box::pin(broadcast_with_permits(n))),
        ],
    );
}

const HALF: usize = CAPACITY / 2;

/// Keeps the sender at most `CAPACITY` ahead of the slowest receiver. Whoever has received the last number of a half
/// buffer counts down, and the last one to do so gives the sender as much room. The sender is never more than two
/// halves ahead, so two counters do. (Other divisions, or none, make no difference.)
struct Window {
    room: Semaphore,
    receivers_left: [AtomicUsize; 2],
}

impl Window {
    fn new() -> Self {
        Window { room: Semaphore::new(CAPACITY), receivers_left: [(); 2].map(|()| AtomicUsize::new(RECEIVERS)) }
    }

    async fn before_sending(&self, i: usize) {
        if i % HALF == 0 {
            self.room.acquire_many(HALF as u32).await.unwrap().forget();
        }
    }

    fn after_receiving(&self, i: usize) {
        let left = &self.receivers_left[i / HALF % 2];
        if i % HALF == HALF - 1 && left.fetch_sub(1, AcqRel) == 1 {
            left.store(RECEIVERS, Relaxed); // Counted down again only after the sender has had the room.
            self.room.add_permits(HALF);
        }
    }
}

async fn broadcast_by_halves(n: usize) -> Duration {
    let start = Instant::now();
    let window = Arc::new(Window::new());
    let (sender, _) = broadcast::channel(CAPACITY);
    let receive = |()| {
        let (mut receiver, window) = (sender.subscribe(), window.clone());
        tokio::spawn(async move {
            for i in 0..n {
                assert_eq!(receiver.recv().await, Ok(i));
                window.after_receiving(i);
            }
        })
    };
    let receivers = [(); RECEIVERS].map(receive);
    let sending = tokio::spawn(async move {
        for i in 0..n {
            window.before_sending(i).await;
            sender.send(i).unwrap();
        }
    });
    for task in receivers.into_iter().chain([sending]) {
        task.await.unwrap();
    }
    start.elapsed()
}

/// The shortest way to write it: a message holds its place, and gives it back when its last copy is gone.
async fn broadcast_with_permits(n: usize) -> Duration {
    let start = Instant::now();
    let (sender, _) = broadcast::channel::<Arc<(usize, OwnedSemaphorePermit)>>(CAPACITY);
    let receive = |()| {
        let mut receiver = sender.subscribe();
        tokio::spawn(async move {
            for i in 0..n {
                assert_eq!(receiver.recv().await.unwrap().0, i);
            }
        })
    };
    let receivers = [(); RECEIVERS].map(receive);
    let sending = tokio::spawn(async move {
        let room = Arc::new(Semaphore::new(CAPACITY));
        for i in 0..n {
            let place = room.clone().acquire_owned().await.unwrap();
            sender.send(Arc::new((i, place))).unwrap();
        }
    });
    for task in receivers.into_iter().chain([sending]) {
        task.await.unwrap();
    }
    start.elapsed()
}

/// Two tasks and two watches: a number is set, seen, and set in answer, n times.
pub fn watch(args: &Args) {
    report_best(args, &[("changed", |n| Box::pin(together(watch_each_other(n))))]);
}

fn watch_each_other(n: usize) -> (impl Task, impl Task) {
    let (ask, mut asked) = watch::channel(0);
    let (answer, mut answered) = watch::channel(0);
    let client = async move {
        for i in 1..=n as u64 {
            ask.send(i).unwrap();
            answered.changed().await.unwrap();
            assert_eq!(*answered.borrow(), i);
        }
    };
    let server = async move {
        while asked.changed().await.is_ok() {
            answer.send(*asked.borrow()).unwrap();
        }
    };
    (client, server)
}

/// Two tasks wake each other in turns, n times each.
pub fn notify(args: &Args) {
    report_best(args, &[("notify_one", |n| Box::pin(together(take_turns(n))))]);
}

fn take_turns(n: usize) -> (impl Task, impl Task) {
    let turns = Arc::new([Notify::new(), Notify::new()]);
    turns[0].notify_one(); // The first turn.
    let player = |own: usize, turns: Arc<[Notify; 2]>| async move {
        for _ in 0..n {
            turns[own].notified().await;
            turns[1 - own].notify_one();
        }
    };
    (player(0, turns.clone()), player(1, turns))
}
