package main

// tcp_roundtrip and tcp_roundtrip_64c: 64-byte echoes over loopback, both ends in one process. Go sets TCP_NODELAY.

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	message = 64
	buffer  = 1024
)

type echoer func(net.Conn)

// One connection, n round trips one after the other; then again, each timed by itself.
func tcpRoundtrip(a arguments) {
	took := best(
		a,
		idiom{"read_write", func(n int) time.Duration { return tcpRound(n, 1, echo) }},
		idiom{"io_copy", func(n int) time.Duration { return tcpRound(n, 1, echoByCopy) }},
	)
	figure(a.name, nsPer(took, a.n)/1e3, "us/op")
	reportPercentiles(
		a,
		latencyIdiom{"read_write", func(n int) []time.Duration { return tcpLatencies(n, echo) }},
		latencyIdiom{"io_copy", func(n int) []time.Duration { return tcpLatencies(n, echoByCopy) }},
	)
}

// 64 connections at the same time, n round trips in all; the wall time divided by n.
func tcpRoundtrip64(a arguments) {
	reportBest(
		sharedBy(64, a),
		idiom{"read_write", func(n int) time.Duration { return tcpRound(n, 64, echo) }},
		idiom{"io_copy", func(n int) time.Duration { return tcpRound(n, 64, echoByCopy) }},
	)
}

func tcpRound(n, connections int, echo echoer) time.Duration {
	clients, disconnect := connect(connections, echo)
	tasks := make([]func(), connections)
	for i, client := range clients {
		client := client
		tasks[i] = func() {
			question, answer := make([]byte, message), make([]byte, buffer)
			for i := 0; i < n/connections; i++ {
				ask(client, question, answer)
			}
		}
	}
	took := together(tasks...)
	disconnect()
	return took
}

func tcpLatencies(n int, echo echoer) []time.Duration {
	clients, disconnect := connect(1, echo)
	times := make([]time.Duration, n)
	together(func() {
		question, answer := make([]byte, message), make([]byte, buffer)
		for i := range times {
			start := time.Now()
			ask(clients[0], question, answer)
			times[i] = time.Since(start)
		}
	})
	disconnect()
	return times
}

// connect yields the clients' ends, and what closes them and waits for the other ends, each of which has a goroutine
// that echoes.
func connect(connections int, echo echoer) (clients []net.Conn, disconnect func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	checkDone(err)
	clients = make([]net.Conn, connections)
	var echoes sync.WaitGroup
	echoes.Add(connections)
	for i := range clients {
		clients[i], err = net.Dial("tcp", listener.Addr().String())
		checkDone(err)
		server, err := listener.Accept()
		checkDone(err)
		go func() {
			echo(server)
			checkDone(server.Close())
			echoes.Done()
		}()
	}
	checkDone(listener.Close())
	return clients, func() {
		for _, client := range clients {
			checkDone(client.Close())
		}
		echoes.Wait()
	}
}

func echo(server net.Conn) {
	received := make([]byte, buffer)
	for {
		length, err := server.Read(received)
		if err == io.EOF {
			return
		}
		checkDone(err)
		_, err = server.Write(received[:length])
		checkDone(err)
	}
}

// Go moves the bytes from a TCP connection to another inside the kernel, by splice.
func echoByCopy(server net.Conn) {
	_, err := io.Copy(server, server)
	checkDone(err)
}

// ask counts up in the question's first and last byte, so that an old answer is none.
func ask(client net.Conn, question, answer []byte) {
	question[0]++
	question[message-1]++
	_, err := client.Write(question)
	checkDone(err)
	for got := 0; got < message; {
		length, err := client.Read(answer[got:])
		checkDone(err)
		got += length
	}
	check(answer[0] == question[0] && answer[message-1] == question[message-1], "an echo")
}
