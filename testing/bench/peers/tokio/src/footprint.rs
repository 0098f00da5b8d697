//! parked_bytes_* and idle_cpu: what waiting costs.

use crate::counting_alloc;
use crate::harness::{about_to_park, all_parked, print, runtime, Args, HOUR};
use std::future::{pending, Future};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Notify;

pub fn parked_pending(args: &Args) {
    parked_bytes(args, || async {
        about_to_park();
        pending::<()>().await
    });
}

pub fn parked_notify(args: &Args) {
    let event: &'static Notify = Box::leak(Box::default());
    parked_bytes(args, move || async move {
        about_to_park();
        event.notified().await
    });
}

/// Boxed, since Sleep is aligned to 128 bytes and pads the task around it (Tokio 1.24: 752 bytes, 1,280 unboxed).
pub fn parked_sleep(args: &Args) {
    parked_bytes(args, || async {
        about_to_park();
        Box::pin(tokio::time::sleep(HOUR)).await
    });
}

/// Growth of the live heap and of the resident set, for each of n parked tasks. Tasks are detached: a JoinHandle
/// would add 8 bytes wherever its owner keeps it. One round only: a second would find its memory resident already.
fn parked_bytes<T: Future<Output = ()> + Send + 'static>(args: &Args, task: impl Fn() -> T + Send + 'static) {
    let n = args.n;
    let measure = async move {
        counting_alloc::start();
        let (requested, usable) = counting_alloc::live();
        let resident = resident_bytes();
        for _ in 0..n {
            tokio::spawn(task());
        }
        all_parked(n).await;
        let after = counting_alloc::live();
        [after.0 - requested, after.1 - usable, resident_bytes() - resident]
    };
    let rt = runtime(args.workers);
    let grown = rt.block_on(rt.spawn(measure)).expect("parked_bytes panicked");
    for (suffix, bytes) in ["", "_usable", "_rss"].into_iter().zip(grown) {
        print(&format!("{}{suffix}", args.name), bytes as f64 / n as f64, "bytes");
    }
}

fn resident_bytes() -> isize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("cannot read /proc/self/statm");
    let pages: isize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("odd /proc/self/statm");
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as isize
}

/// CPU time of the whole process in a window in which nothing happens: an accept is pending and a sleep is parked.
pub fn idle_cpu(args: &Args) {
    let rt = runtime(args.workers);
    rt.spawn(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.accept().await.map(drop)
    });
    rt.spawn(async { tokio::time::sleep(HOUR).await });
    std::thread::sleep(Duration::from_millis(200)); // Lets the workers park.
    let before = cpu_time_us();
    std::thread::sleep(Duration::from_secs(args.seconds));
    print(args.name, cpu_time_us() - before, "us");
    rt.shutdown_background();
}

fn cpu_time_us() -> f64 {
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
    let us = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
    us(usage.ru_utime) + us(usage.ru_stime)
}
