package main

// What the benchmarks share: warm-up and rounds, best of several idioms, the output line, the collector.

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// One way to write a benchmark. A round does it for n things and yields the time that its measured part took.
type idiom struct {
	name  string
	round func(n int) time.Duration
}

// best runs each idiom for one discarded round and a.rounds measured ones; it yields the least time of all.
func best(a arguments, idioms ...idiom) time.Duration {
	least := time.Duration(1<<63 - 1)
	for _, idiom := range idioms {
		own := time.Duration(1<<63 - 1)
		for i := 0; i <= a.rounds; i++ {
			runtime.GC() // What the round before left behind is none of this one's time.
			if took := idiom.round(a.n); i > 0 && took < own {
				own = took
			}
		}
		note("%s %s: %.1f ns/op", a.name, idiom.name, nsPer(own, a.n))
		if own < least {
			least = own
		}
	}
	return least
}

// reportBest prints `best` as nanoseconds for each of the n things.
func reportBest(a arguments, idioms ...idiom) {
	figure(a.name, nsPer(best(a, idioms...), a.n), "ns/op")
}

// One way to write a benchmark of single times: a round yields one for each of the n things.
type latencyIdiom struct {
	name  string
	round func(n int) []time.Duration
}

// reportPercentiles prints the least p50 and the least p99 of all rounds but the first of each idiom.
func reportPercentiles(a arguments, idioms ...latencyIdiom) {
	const never = time.Duration(1<<63 - 1)
	p50, p99 := never, never
	for _, idiom := range idioms {
		own50, own99 := never, never
		for i := 0; i <= a.rounds; i++ {
			runtime.GC()
			times := idiom.round(a.n)
			if i == 0 {
				continue
			}
			sort.Slice(times, func(i, k int) bool { return times[i] < times[k] })
			own50 = lesser(own50, percentile(times, 50))
			own99 = lesser(own99, percentile(times, 99))
		}
		note("%s %s: p50 %.1f us, p99 %.1f us", a.name, idiom.name, us(own50), us(own99))
		p50, p99 = lesser(p50, own50), lesser(p99, own99)
	}
	figure(a.name+"_p50", us(p50), "us")
	figure(a.name+"_p99", us(p99), "us")
}

// percentile yields the least of `sorted` that at least `percent` of a hundred do not exceed.
func percentile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

func lesser(one, other time.Duration) time.Duration {
	if other < one {
		return other
	}
	return one
}

func us(time time.Duration) float64 { return float64(time) / 1e3 }

func nsPer(time time.Duration, n int) float64 { return float64(time) / float64(n) }

func figure(name string, value float64, unit string) { fmt.Printf("%s\t%.2f\t%s\n", name, value, unit) }

func note(format string, values ...any) { fmt.Fprintf(os.Stderr, "# "+format+"\n", values...) }

// check ends the program, without a figure, if a result is wrong. (A panic's exit code is that of bad usage.)
func check(right bool, what string) {
	if !right {
		fmt.Fprintln(os.Stderr, "go_peer: wrong: "+what)
		os.Exit(1)
	}
}

// checkDone is check for what the system does.
func checkDone(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go_peer: "+err.Error())
		os.Exit(1)
	}
}

// sharedBy makes n a multiple of the tasks that share it, so that each does as much.
func sharedBy(tasks int, a arguments) arguments {
	if a.n < tasks {
		a.n = tasks
	}
	a.n -= a.n % tasks
	return a
}

// powerOfTen rounds n down to one, so that a tree of ten children each has n leaves.
func powerOfTen(a arguments) arguments {
	leaves := 1
	for leaves <= a.n/10 {
		leaves *= 10
	}
	a.n = leaves
	return a
}

// together is a round of a few goroutines; the time covers starting them and their ends.
func together(tasks ...func()) time.Duration {
	start := time.Now()
	var ended sync.WaitGroup
	ended.Add(len(tasks))
	for _, task := range tasks {
		go func(task func()) {
			task()
			ended.Done()
		}(task)
	}
	ended.Wait()
	return time.Since(start)
}

// Goroutines count themselves here just before they park.
var parking atomic.Int64

// allParked waits until n goroutines have said so, gives the last ones time to park, and starts the count anew.
func allParked(n int) {
	for parking.Load() < int64(n) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	parking.Store(0)
}

// The same pseudo-random numbers in every run and in every program of the report: Marsaglia's xorshift64.
type xorshift uint64

func newXorshift() xorshift { return 88172645463325252 }

func (x *xorshift) below(bound time.Duration) time.Duration {
	*x ^= *x << 13
	*x ^= *x >> 7
	*x ^= *x << 17
	return time.Duration(*x % xorshift(bound))
}

// tuneCollector lets the heap grow to five times what is live before it is collected, as services do that have the
// memory. $GOGC says otherwise.
func tuneCollector() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
