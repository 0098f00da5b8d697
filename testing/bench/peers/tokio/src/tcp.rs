//! tcp_roundtrip and tcp_roundtrip_64c: 64-byte echoes over loopback, both ends in one runtime, TCP_NODELAY on both.

use crate::harness::{best, ns_per, print, report_best, shared_by, Args};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MESSAGE: [u8; 64] = [7; 64];

/// Larger than a message on purpose: a short read tells Tokio that the socket is drained and saves it the read that
/// would fail with EAGAIN.
const BUFFER: usize = 1024;

/// One connection, n round trips one after the other.
pub fn roundtrip(args: &Args) {
    let time = best(args, &[("1 connection", |n| Box::pin(round(n, 1)))]);
    print(args.name, ns_per(time, args.n) / 1000.0, "us/op");
}

/// 64 connections at the same time, n round trips in all; the wall time divided by n.
pub fn roundtrip_64c(args: &Args) {
    report_best(&shared_by(64, args), &[("64 connections", |n| Box::pin(round(n, 64)))]);
}

/// Connects first; the time runs from the first request to the last answer.
async fn round(n: usize, connections: usize) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, server) = (client.unwrap(), accepted.unwrap().0);
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        tokio::spawn(echo(server));
        clients.push(client);
    }
    let start = Instant::now();
    let request = |client| tokio::spawn(request(client, n / connections));
    let clients: Vec<_> = clients.into_iter().map(request).collect();
    for client in clients {
        client.await.unwrap().unwrap();
    }
    start.elapsed()
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
        stream.write_all(&MESSAGE).await?;
        let mut received = 0;
        while received < MESSAGE.len() {
            match stream.read(&mut buffer[received..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => received += length,
            }
        }
    }
    Ok(())
}
