//! tcp_*: 64-byte echoes over loopback, both ends in one runtime, TCP_NODELAY on both.

use crate::harness::{best, kinds, ns_per, print, report_best, report_percentiles, shared_by, Args};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

const MESSAGE: [u8; 64] = [7; 64];

/// Larger than a message on purpose: a short read tells Tokio that the socket is drained and saves it the read that
/// would fail with EAGAIN.
const BUFFER: usize = 1024;

/// One connection, n round trips one after the other. Percentiles come from rounds of their own, since the clock that
/// they read for each round trip would be in the way of the throughput.
pub fn roundtrip(args: &Args) {
    let time = best(args, &[("1 connection", |n| Box::pin(round(n, 1, 0)))]);
    print(args.name, ns_per(time, args.n) / 1000.0, "us/op");
    report_percentiles(args, kinds(args.workers), &[("each timed", |n| Box::pin(timed_round(n)))]);
}

/// 64 connections at the same time, n round trips in all; the wall time divided by n.
pub fn roundtrip_64c(args: &Args) {
    report_best(&shared_by(64, args), &[("64 connections", |n| Box::pin(round(n, 64, 0)))]);
}

/// The same among thousands of connections on which nothing happens.
pub fn idle_10k(args: &Args) {
    eprintln!("# {} {} connections", args.name, idle_connections() + 64);
    report_best(&shared_by(64, args), &[("64 active", |n| Box::pin(round(n, 64, idle_connections())))]);
}

/// 9,900 connections in all, or as many as the limit of descriptors leaves: two for each, and some for the rest.
fn idle_connections() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let connections = (limit.rlim_cur.saturating_sub(200) / 2).min(9_900) as usize;
    assert!(connections >= 64, "the limit of descriptors leaves {connections} connections");
    connections - 64
}

/// What can be asked on, and the tasks that answer, which end with their clients.
struct Connections {
    clients: Vec<TcpStream>,
    echoes: Vec<JoinHandle<io::Result<()>>>,
}

async fn connect(count: usize) -> Connections {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mut clients, mut echoes) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, server) = (client.unwrap(), accepted.unwrap().0);
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        echoes.push(tokio::spawn(echo(server)));
        clients.push(client);
    }
    Connections { clients, echoes }
}

/// Connects first; the time runs from the first request to the last answer.
async fn round(n: usize, active: usize, idle: usize) -> Duration {
    let mut connections = connect(active + idle).await;
    let asking = connections.clients.split_off(idle);
    if idle > 0 {
        sleep(Duration::from_millis(20)).await; // Every echo task is parked in its read.
    }
    let start = Instant::now();
    let request = |client| tokio::spawn(request(client, n / active));
    let requests: Vec<_> = asking.into_iter().map(request).collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    let time = start.elapsed();
    drop(connections.clients);
    for echo in connections.echoes {
        echo.await.unwrap().unwrap(); // The next round needs their descriptors.
    }
    time
}

async fn timed_round(n: usize) -> Vec<Duration> {
    let mut client = connect(1).await.clients.pop().unwrap();
    let request = async move {
        let mut times = Vec::with_capacity(n);
        let mut buffer = [0; BUFFER];
        for _ in 0..n {
            let start = Instant::now();
            request_once(&mut client, &mut buffer).await.unwrap();
            times.push(start.elapsed());
        }
        times
    };
    tokio::spawn(request).await.unwrap()
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn request(mut stream: TcpStream, count: usize) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    for _ in 0..count {
        request_once(&mut stream, &mut buffer).await?;
    }
    Ok(())
}

async fn request_once(stream: &mut TcpStream, buffer: &mut [u8; BUFFER]) -> io::Result<()> {
    stream.write_all(&MESSAGE).await?;
    let mut received = 0;
    while received < MESSAGE.len() {
        match stream.read(&mut buffer[received..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => received += length,
        }
    }
    Ok(())
}
