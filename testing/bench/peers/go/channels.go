package main

// Channels: what one goroutine hands to another.

import (
	"sync"
	"time"
)

// Two goroutines and two channels: a number goes there and comes back, n times.
func channelRoundtrip(a arguments) {
	reportBest(
		a,
		idiom{"capacity_1", func(n int) time.Duration { return roundtripRound(n, 1) }},
		idiom{"unbuffered", func(n int) time.Duration { return roundtripRound(n, 0) }},
	)
}

func roundtripRound(n, capacity int) time.Duration {
	ask, answer := make(chan int, capacity), make(chan int, capacity)
	client := func() {
		for i := 0; i < n; i++ {
			ask <- i
			check(<-answer == i, "the answer of channel_roundtrip")
		}
		close(ask)
	}
	server := func() {
		for i := range ask {
			answer <- i
		}
	}
	return together(client, server)
}

const (
	producers = 4
	capacity  = 64
)

// Four goroutines send n/4 numbers each into one channel; one takes them all.
func mpscFourProducers(a arguments) {
	reportBest(sharedBy(producers, a), idiom{"range", mpscRound})
}

func mpscRound(n int) time.Duration {
	each := n / producers
	start := time.Now()
	numbers := make(chan int, capacity)
	sum := make(chan int)
	go func() {
		total := 0
		for i := range numbers {
			total += i
		}
		sum <- total
	}()
	var sent sync.WaitGroup
	sent.Add(producers)
	for i := 0; i < producers; i++ {
		go func() {
			for i := 0; i < each; i++ {
				numbers <- i
			}
			sent.Done()
		}()
	}
	sent.Wait()
	close(numbers)
	total := <-sum
	took := time.Since(start)
	check(total == each*(each-1)/2*producers, "the sum of mpsc_4p")
	return took
}
