//! Locks: one task that finds them free, and several that have to wait for each other.

use crate::harness::{report_best, shared_by, Args, Task};
use crate::tasks::WakeSelf;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, SemaphorePermit};
use tokio::task::{unconstrained, yield_now};

/// One task locks, counts, unlocks.
pub fn mutex(args: &Args) {
    report_best(
        args,
        &[("lock", |n| Box::pin(mutex_alone::<false>(n))), ("try_first", |n| Box::pin(mutex_alone::<true>(n)))],
    );
}

async fn mutex_alone<const TRY_FIRST: bool>(n: usize) -> Duration {
    let count = Mutex::new(0);
    let start = Instant::now();
    for _ in 0..n {
        *lock::<TRY_FIRST>(&count).await += 1;
    }
    let time = start.elapsed();
    assert_eq!(count.into_inner(), n);
    time
}

async fn lock<const TRY_FIRST: bool>(mutex: &Mutex<usize>) -> MutexGuard<'_, usize> {
    if TRY_FIRST {
        if let Ok(guard) = mutex.try_lock() {
            return guard;
        }
    }
    mutex.lock().await
}

/// Two tasks do it, n/2 times each. They only meet on two workers.
pub fn mutex_contended(args: &Args) {
    report_best(
        &shared_by(2, args),
        &[
            ("lock", |n| Box::pin(mutex_pair(n, count_up::<false>))),
            ("try_first", |n| Box::pin(mutex_pair(n, count_up::<true>))),
            ("unconstrained", |n| Box::pin(mutex_pair(n, |count, n| unconstrained(count_up::<false>(count, n))))),
        ],
    );
}

async fn mutex_pair<T: Task>(n: usize, task: fn(Arc<Mutex<usize>>, usize) -> T) -> Duration {
    let count = Arc::new(Mutex::new(0));
    let start = Instant::now();
    let tasks = [(); 2].map(|()| tokio::spawn(task(count.clone(), n / 2)));
    for task in tasks {
        task.await.unwrap();
    }
    let time = start.elapsed();
    assert_eq!(*count.lock().await, n);
    time
}

async fn count_up<const TRY_FIRST: bool>(count: Arc<Mutex<usize>>, times: usize) {
    for _ in 0..times {
        *lock::<TRY_FIRST>(&count).await += 1;
    }
}

/// The same with a yield while it is locked, so that nearly each lock waits for the other task's unlock.
pub fn mutex_contended_yield(args: &Args) {
    report_best(
        &shared_by(2, args),
        &[
            ("yield_now", |n| Box::pin(mutex_pair(n, |count, n| count_up_yielding(count, n, yield_now)))),
            ("wake_self", |n| Box::pin(mutex_pair(n, |count, n| count_up_yielding(count, n, WakeSelf::new)))),
        ],
    );
}

async fn count_up_yielding<Y: Future<Output = ()>>(count: Arc<Mutex<usize>>, times: usize, yield_once: fn() -> Y) {
    for _ in 0..times {
        let mut count = count.lock().await;
        *count += 1;
        yield_once().await;
    }
}

/// One task acquires the only permit and gives it back.
pub fn semaphore(args: &Args) {
    report_best(
        args,
        &[
            ("acquire", |n| Box::pin(semaphore_alone::<false>(n))),
            ("try_first", |n| Box::pin(semaphore_alone::<true>(n))),
        ],
    );
}

async fn semaphore_alone<const TRY_FIRST: bool>(n: usize) -> Duration {
    let permits = Semaphore::new(1);
    let start = Instant::now();
    for _ in 0..n {
        drop(acquire::<TRY_FIRST>(&permits).await);
    }
    start.elapsed()
}

async fn acquire<const TRY_FIRST: bool>(permits: &Semaphore) -> SemaphorePermit<'_> {
    if TRY_FIRST {
        if let Ok(permit) = permits.try_acquire() {
            return permit;
        }
    }
    permits.acquire().await.unwrap()
}

const CONTENDERS: usize = 4;

/// Four tasks and two permits; each is kept over a yield.
pub fn semaphore_contended(args: &Args) {
    report_best(
        &shared_by(CONTENDERS, args),
        &[
            ("yield_now", |n| Box::pin(semaphore_round(n, yield_now))),
            ("wake_self", |n| Box::pin(semaphore_round(n, WakeSelf::new))),
        ],
    );
}

async fn semaphore_round<Y: Future<Output = ()> + Send + 'static>(n: usize, yield_once: fn() -> Y) -> Duration {
    let permits = Arc::new(Semaphore::new(2));
    let start = Instant::now();
    let contender = |()| {
        let permits = permits.clone();
        tokio::spawn(async move {
            for _ in 0..n / CONTENDERS {
                let _permit = permits.acquire().await.unwrap();
                yield_once().await;
            }
        })
    };
    for task in [(); CONTENDERS].map(contender) {
        task.await.unwrap();
    }
    start.elapsed()
}

/// One task reads nine times, then writes once.
pub fn rwlock(args: &Args) {
    report_best(
        args,
        &[("lock", |n| Box::pin(rwlock_alone::<false>(n))), ("try_first", |n| Box::pin(rwlock_alone::<true>(n)))],
    );
}

async fn rwlock_alone<const TRY_FIRST: bool>(n: usize) -> Duration {
    let written = RwLock::new(0);
    let start = Instant::now();
    for i in 0..n {
        if i % 10 == 9 {
            *write::<TRY_FIRST>(&written).await += 1;
        } else {
            assert_eq!(*read::<TRY_FIRST>(&written).await, i / 10);
        }
    }
    start.elapsed()
}

async fn read<const TRY_FIRST: bool>(value: &RwLock<usize>) -> RwLockReadGuard<'_, usize> {
    if TRY_FIRST {
        if let Ok(guard) = value.try_read() {
            return guard;
        }
    }
    value.read().await
}

async fn write<const TRY_FIRST: bool>(value: &RwLock<usize>) -> RwLockWriteGuard<'_, usize> {
    if TRY_FIRST {
        if let Ok(guard) = value.try_write() {
            return guard;
        }
    }
    value.write().await
}
