package main

// Timers: armed and stopped at once, a million alive, and how late they fire.

import (
	"sync"
	"time"
)

// One goroutine arms a two-hour timer and stops it, n times.
func timer(a arguments) {
	defer earlierTimer().Stop()
	reportBest(
		a,
		idiom{"after_func", func(n int) time.Duration {
			start := time.Now()
			for i := 0; i < n; i++ {
				check(time.AfterFunc(2*time.Hour, nothing).Stop(), "a timer fired")
			}
			return time.Since(start)
		}},
		idiom{"new_timer", func(n int) time.Duration {
			start := time.Now()
			for i := 0; i < n; i++ {
				check(time.NewTimer(2*time.Hour).Stop(), "a timer fired")
			}
			return time.Since(start)
		}},
		idiom{"reset", func(n int) time.Duration {
			timer := time.AfterFunc(2*time.Hour, nothing)
			timer.Stop()
			start := time.Now()
			for i := 0; i < n; i++ {
				timer.Reset(2 * time.Hour)
				check(timer.Stop(), "a timer fired")
			}
			return time.Since(start)
		}},
	)
}

func nothing() {}

// earlierTimer stands before all others, as in most servers; without it an insert may have to wake an idle worker that
// waits for the first timer.
func earlierTimer() *time.Timer {
	timer := time.NewTimer(30 * time.Minute)
	time.Sleep(5 * time.Millisecond) // An idle worker learns of it.
	return timer
}

// n timers, due between one and two hours from now, are armed and then stopped.
func timersLive(a arguments) {
	defer earlierTimer().Stop()
	reportBest(
		a,
		idiom{"after_func_same_order", func(n int) time.Duration { return liveRound(n, false, false) }},
		idiom{"after_func_random_order", func(n int) time.Duration { return liveRound(n, false, true) }},
		idiom{"reset_same_order", func(n int) time.Duration { return liveRound(n, true, false) }},
		idiom{"reset_random_order", func(n int) time.Duration { return liveRound(n, true, true) }},
	)
}

// With `again` the timers are there already, stopped, and are only armed anew.
func liveRound(n int, again, randomOrder bool) time.Duration {
	random := newXorshift()
	delays := make([]time.Duration, n)
	order := make([]int, n)
	timers := make([]*time.Timer, n)
	for i := range delays {
		delays[i] = time.Hour + random.below(time.Hour)
		order[i] = i
	}
	for i := n - 1; randomOrder && i > 0; i-- {
		k := random.below(time.Duration(i + 1))
		order[i], order[k] = order[k], order[i]
	}
	if again {
		for i := range timers {
			timers[i] = time.AfterFunc(delays[i], nothing)
			timers[i].Stop()
		}
	}
	time.Sleep(10 * time.Millisecond) // The scheduler sweeps out what was stopped, here and in the round before.
	start := time.Now()
	if again {
		for i, timer := range timers {
			timer.Reset(delays[i])
		}
	} else {
		for i, delay := range delays {
			timers[i] = time.AfterFunc(delay, nothing)
		}
	}
	stopped := 0
	for _, i := range order {
		if timers[i].Stop() {
			stopped++
		}
	}
	took := time.Since(start)
	check(stopped == n, "a timer fired")
	return took
}

// n timers fire at random instants of the next n times 100 µs; how late each is.
func timerLateness(a arguments) {
	reportPercentiles(
		a,
		latencyIdiom{"sleep", func(n int) []time.Duration {
			return latenessRound(n, func(due time.Time, awake func()) {
				go func() {
					time.Sleep(time.Until(due))
					awake()
				}()
			})
		}},
		latencyIdiom{"after_func", func(n int) []time.Duration {
			return latenessRound(n, func(due time.Time, awake func()) { time.AfterFunc(time.Until(due), awake) })
		}},
	)
}

func latenessRound(n int, arm func(due time.Time, awake func())) []time.Duration {
	random := newXorshift()
	late := make([]time.Duration, n)
	var ended sync.WaitGroup
	ended.Add(n)
	begin := time.Now().Add(50 * time.Millisecond) // All timers stand when that time begins.
	for i := range late {
		i, due := i, begin.Add(random.below(time.Duration(n) * 100 * time.Microsecond))
		arm(due, func() {
			late[i] = time.Since(due)
			ended.Done()
		})
	}
	ended.Wait()
	for _, lateness := range late {
		check(lateness >= 0, "a timer was early")
	}
	return late
}
